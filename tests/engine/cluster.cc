#include "tests/engine/cluster.h"

#include "core/base/random.h"
#include "core/cluster/messages.h"

namespace shoal::test {

namespace {

const Address kScheduler{"scheduler", 7000};

/// Tells of what its owner closes, in the middle of what the owner does, and of what it registers.
class ToldTransport final : public Transport {
 public:
  ToldTransport(std::unique_ptr<Transport> inner, const std::function<void()>& on_close, bool pins,
                std::uint64_t& registrations)
      : inner_(std::move(inner)), on_close_(on_close), pins_(pins), registrations_(registrations) {}

  std::string_view name() const override { return inner_->name(); }
  Result<Address> listen(const Address& at) override { return inner_->listen(at); }
  Result<EndpointId> connect(const Address& peer, TimePoint deadline) override {
    return inner_->connect(peer, deadline);
  }
  void close(EndpointId endpoint) override {
    inner_->close(endpoint);
    if (on_close_) on_close_();
  }
  std::string peer_of(EndpointId endpoint) const override { return inner_->peer_of(endpoint); }
  std::string explain(EndpointId endpoint) const override { return inner_->explain(endpoint); }
  bool pins() const override { return pins_; }
  Result<Region> register_memory(MemoryView memory, Access access) override {
    ++registrations_;
    return inner_->register_memory(memory, access);
  }
  Status send(EndpointId endpoint, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload, const SendOptions& options) override {
    return inner_->send(endpoint, header, meta, payload, options);
  }
  Status read(EndpointId endpoint, MemoryView to, const RemoteSpan& from,
              std::uint64_t context) override {
    return inner_->read(endpoint, to, from, context);
  }
  Status write(EndpointId endpoint, ConstMemoryView from, const RemoteSpan& to,
               std::uint64_t context) override {
    return inner_->write(endpoint, from, to, context);
  }
  std::size_t poll(std::span<Event> events) override { return inner_->poll(events); }
  void flush() override { inner_->flush(); }
  int wait_fd() const override { return inner_->wait_fd(); }
  bool one_sided(EndpointId endpoint) const override { return inner_->one_sided(endpoint); }
  bool arm() override { return inner_->arm(); }
  TimePoint next_timer() const override { return inner_->next_timer(); }

 private:
  // Regions belong to the transport within.
  RemoteSpan remote_span(std::uint64_t, std::size_t, std::size_t) const override { return {}; }
  void revoke(std::uint64_t) override {}

  std::unique_ptr<Transport> inner_;
  const std::function<void()>& on_close_;
  const bool pins_;
  std::uint64_t& registrations_;
};

/// A server whose device runs a little in each turn.
class LatePoll final : public Pollable {
 public:
  LatePoll(Server& server, test::LateDevice& device) : server_(server), device_(device) {}
  bool poll(TimePoint now) override {
    device_.run(random_.below(4));
    return server_.poll(now);
  }
  TimePoint next_timer() const override { return server_.next_timer(); }
  Transport& transport() override { return server_.transport(); }

 private:
  Server& server_;
  test::LateDevice& device_;
  Random random_{7};
};

}  // namespace

EngineTest::~EngineTest() {
  // Processes go before their transports, and those before the network.
  for (auto& worker : workers_) {
    driver_.detach(worker->node);
    worker->engine.reset();
    worker->transport.reset();
  }
  for (auto& machine : servers_) {
    driver_.detach(machine->node);
    machine->server.reset();
    machine->transport.reset();
  }
  scheduler_.reset();
  scheduler_transport_.reset();
}

TableSpec EngineTest::dense(const std::string& name, Apply apply, std::int64_t staleness) {
  TableSpec spec;
  spec.name = name;
  spec.rows = kRows;
  spec.segment_bytes = 64;
  spec.update = Add{};
  spec.apply = apply;
  spec.staleness = staleness;
  return spec;
}

void EngineTest::start(std::uint32_t workers, const std::vector<TableSpec>& tables) {
  constexpr Duration kNoHearts = std::chrono::hours(1);  // nobody beats, nobody needs to
  options_.workers_expected = workers;
  options_.server_lease = options_.worker_lease = kNoHearts;
  scheduler_node_ = network_.create_node("scheduler");
  scheduler_transport_ = network_.start(scheduler_node_);
  ASSERT_TRUE(scheduler_transport_->listen(kScheduler).ok());
  Scheduler::Options scheduler;
  scheduler.membership = options_;
  scheduler_ = Scheduler::create(*scheduler_transport_, scheduler, store_, network_.now()).value();
  driver_.attach(scheduler_node_, *scheduler_);

  for (std::uint32_t i = 0; i < options_.servers_expected; ++i) {
    auto& machine = *servers_.emplace_back(std::make_unique<ServerMachine>());
    const auto name = "server" + std::to_string(i);
    const Address address{name, 8000};
    machine.node = network_.create_node(name);
    machine.transport = network_.start(machine.node);
    ASSERT_TRUE(machine.transport->listen(address).ok());
    Server::Options server;
    server.link.scheduler = kScheduler;
    server.link.join = {Role::server, Incarnation(1 + i), name, address.to_string()};
    server.link.silence = kNoHearts;
    server.limits = limits_;
    server.limits.memory_bytes = std::uint64_t{64} << 20;
    if (late_) {
      machine.device = std::make_unique<LateDevice>();
      server.pinned = &pinned_;
      machine.server =
          Server::create(*machine.transport, *machine.device, rules_, std::move(server)).value();
      machine.late = std::make_unique<LatePoll>(*machine.server, *machine.device);
      driver_.attach(machine.node, *machine.late);
    } else {
      machine.server =
          Server::create(*machine.transport, device_, rules_, std::move(server)).value();
      driver_.attach(machine.node, *machine.server);
    }
  }
  server_node_ = servers_.front()->node;

  for (std::uint32_t i = 0; i < workers; ++i) {
    auto& machine = *workers_.emplace_back(std::make_unique<Machine>());
    machine.node = network_.create_node("worker" + std::to_string(i));
    machine.transport = std::make_unique<ToldTransport>(network_.start(machine.node), on_close_,
                                                        pins_, registrations_);
    auto options = engine_options_;
    options.scheduler = kScheduler;
    options.incarnation = Incarnation(100 + i);
    options.name = "trainer " + std::to_string(i);
    options.operations_max = 64;
    options.silence = kNoHearts;
    options.seed = i + 1;
    machine.engine = std::make_unique<Engine>(*machine.transport, network_.clock(), options);
    driver_.attach(machine.node, *machine.engine);
    // One after the other: worker i has rank i.
    run(std::chrono::milliseconds(200));
  }
  for (std::uint32_t i = 0; i < workers; ++i) {
    ASSERT_TRUE(until([&] { return engine(i).joined().has_value(); }));
    ASSERT_EQ(engine(i).joined()->rank.value, i);
  }
  for (const auto& spec : tables) {
    std::vector<OperationId> opened;
    for (std::uint32_t i = 0; i < workers; ++i) {
      Engine::Ask ask;
      ask.kind = OperationKind::control;
      ask.control = FrameKind::open_table;
      ask.control_meta = encoded(spec, 1024);
      opened.push_back(submit(i, std::move(ask), std::chrono::seconds(20)));
    }
    for (std::uint32_t i = 0; i < workers; ++i) {
      const auto& op = wait(i, opened[i]);
      ASSERT_EQ(op.code, Errc::ok) << op.detail;
      if (i == 0) tables_.push_back(op.opened);
    }
  }
}

OperationId EngineTest::submit(std::size_t worker, Engine::Ask ask, Duration timeout) {
  ask.deadline = network_.now() + timeout;
  const auto id = engine(worker).submit(std::move(ask)).value();
  network_.wake(node(worker));
  return id;
}

OperationId EngineTest::pull(std::size_t worker, std::size_t table, Duration timeout,
                             std::int64_t ahead) {
  memory_.push_back(std::make_unique<std::vector<float>>(kRows));
  Engine::Ask ask;
  ask.kind = OperationKind::pull;
  ask.table = tables_.at(table);
  ask.rows = {0, kRows};
  ask.target = host_view(std::span(*memory_.back()));
  ask.ahead = ahead;
  return submit(worker, std::move(ask), timeout);
}

OperationId EngineTest::push(std::size_t worker, std::size_t table, RowRange rows,
                             std::span<const OperationId> after) {
  memory_.push_back(std::make_unique<std::vector<float>>(rows.size(), 1.0f));
  Engine::Ask ask;
  ask.kind = OperationKind::push;
  ask.table = tables_.at(table);
  ask.rows = rows;
  ask.source = host_view(std::span(*memory_.back()));
  ask.after = after;
  return submit(worker, std::move(ask), std::chrono::seconds(60));
}

OperationId EngineTest::store(std::size_t worker, std::size_t table, Duration timeout) {
  memory_.push_back(std::make_unique<std::vector<float>>(kRows, 0.0f));
  Engine::Ask ask;
  ask.kind = OperationKind::push;
  ask.store = true;
  ask.table = tables_.at(table);
  ask.rows = {0, kRows};
  ask.source = host_view(std::span(*memory_.back()));
  return submit(worker, std::move(ask), timeout);
}

OperationId EngineTest::barrier(std::size_t worker, Duration timeout) {
  Engine::Ask ask;
  ask.kind = OperationKind::control;
  ask.control = FrameKind::barrier;
  return submit(worker, std::move(ask), timeout);
}

OperationId EngineTest::flush(std::size_t worker, Duration timeout) {
  Engine::Ask ask;
  ask.kind = OperationKind::flush;
  return submit(worker, std::move(ask), timeout);
}

OperationId EngineTest::leave(std::size_t worker, Duration timeout) {
  std::vector<std::byte> meta(16);
  Writer out(meta);
  encode(out, Leave{id(worker)});
  meta.resize(out.size());
  Engine::Ask ask;
  ask.kind = OperationKind::control;
  ask.control = FrameKind::leave;
  ask.control_meta = std::move(meta);
  return submit(worker, std::move(ask), timeout);
}

OperationId EngineTest::drop_table(std::size_t worker, std::size_t table, Duration timeout) {
  Engine::Ask ask;
  ask.kind = OperationKind::control;
  ask.control = FrameKind::drop_table;
  ask.table = tables_.at(table);
  return submit(worker, std::move(ask), timeout);
}

void EngineTest::tick(std::size_t worker) {
  engine(worker).tick();
  network_.wake(node(worker));
}

void EngineTest::cancel(std::size_t worker, OperationId id) {
  engine(worker).cancel(id);
  network_.wake(node(worker));
}

void EngineTest::kill_server(std::size_t i) {
  auto& machine = *servers_.at(i);
  network_.crash(machine.node);
  driver_.detach(machine.node);
  machine.server.reset();
  machine.transport.reset();
}

const Operation& EngineTest::wait(std::size_t worker, OperationId id) {
  EXPECT_TRUE(until([&] { return done(worker, id); }, std::chrono::minutes(2)))
      << "an operation has not ended";
  return engine(worker).operation(id);
}

}  // namespace shoal::test
