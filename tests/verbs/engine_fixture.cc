#include "tests/verbs/engine_fixture.h"

#include "core/cluster/messages.h"
#include "core/ops/rules.h"

namespace shoal::paths::test {

void EnginePathTest::TearDown() {
  workers_.clear();
  server_.reset();
  attached_.reset();
  scheduler_.reset();
  PathTest::TearDown();
}

TableSpec EnginePathTest::dense(std::uint64_t rows, std::uint32_t segment_bytes) {
  TableSpec spec{.name = "w"};
  spec.rows = rows;
  spec.segment_bytes = segment_bytes;
  spec.update = Add{};
  spec.apply = Apply::on_arrival;
  spec.staleness = unbounded;
  return spec;
}

void EnginePathTest::start(std::uint32_t workers, const TableSpec& table) {
  constexpr Duration kNoHearts = std::chrono::hours(10);  // nobody beats, nobody needs to
  auto& coordinator = make({.has_device = false});
  Scheduler::Options options;
  options.membership.workers_expected = workers;
  options.membership.server_lease = options.membership.worker_lease = kNoHearts;
  options.membership.server_beat = options.membership.worker_beat = kNoHearts / 3;
  options.membership.form_timeout = kNoHearts;
  scheduler_ = Scheduler::create(coordinator.transport(), options, store_, clock.now()).value();

  server_process_ = &make({.more_devices = more_devices_});
  Server::Options server;
  server.link.scheduler = coordinator.address;
  server.link.join = {Role::server, Incarnation(1), "server", server_process_->address.to_string()};
  server.link.silence = kNoHearts;
  server.limits = limits_;
  server.limits.memory_bytes = std::uint64_t{64} << 20;
  auto& transport = server_process_->transport();
  attached_ = std::make_unique<AttachedDevice>(host_, transport);
  auto& device = attaches_ ? static_cast<Device&>(*attached_) : host_;
  server_ = Server::create(transport, device, rules_, std::move(server)).value();

  for (std::uint32_t i = 0; i < workers; ++i) {
    auto& member = workers_.emplace_back();
    member.process = &make({.more_devices = more_devices_});
    auto its = engine_options_;
    its.scheduler = coordinator.address;
    its.incarnation = Incarnation(100 + i);
    its.name = "trainer " + std::to_string(i);
    its.operations_max = 256;
    its.silence = kNoHearts;
    its.seed = i + 1;
    member.engine = std::make_unique<Engine>(member.process->transport(), clock, its);
  }
  for (std::uint32_t i = 0; i < workers; ++i) {
    ASSERT_TRUE(until([&] { return engine(i).joined().has_value(); }));
    Engine::Ask ask;
    ask.kind = OperationKind::control;
    ask.control = FrameKind::open_table;
    ask.control_meta = encoded(table, 1024);
    const auto id = submit(i, std::move(ask), std::chrono::minutes(1));
    ASSERT_TRUE(until([&] { return done(i, id); })) << "a table is not opened";
    const auto& op = engine(i).operation(id);
    ASSERT_EQ(op.code, Errc::ok) << op.detail;
    if (i == 0) table_ = op.opened;
    engine(i).drop(id);
  }
}

std::string EnginePathTest::path_to_server(std::size_t worker) {
  Engine::Ask ask;
  ask.kind = OperationKind::explain;
  return end(worker, submit(worker, std::move(ask), std::chrono::minutes(1))).detail;
}

OperationId EnginePathTest::submit(std::size_t worker, Engine::Ask ask, Duration timeout) {
  ask.deadline = clock.now() + timeout;
  return engine(worker).submit(std::move(ask)).value();
}

Engine::Ask EnginePathTest::ask_for(std::uint64_t first, std::span<float> to) const {
  Engine::Ask ask;
  ask.kind = OperationKind::pull;
  ask.table = table_;
  ask.rows = {first, first + to.size()};
  ask.target = host_view(to);
  return ask;
}

OperationId EnginePathTest::pull(std::size_t worker, std::uint64_t first, std::span<float> to,
                                 Duration timeout) {
  return submit(worker, ask_for(first, to), timeout);
}

OperationId EnginePathTest::push(std::size_t worker, std::uint64_t first, std::span<float> from,
                                 bool store) {
  Engine::Ask ask;
  ask.kind = OperationKind::push;
  ask.table = table_;
  ask.rows = {first, first + from.size()};
  ask.source = host_view(from);
  ask.store = store;
  return submit(worker, std::move(ask), std::chrono::minutes(10));
}

EnginePathTest::End EnginePathTest::end(std::size_t worker, OperationId id) {
  EXPECT_TRUE(until([&] { return done(worker, id); })) << "an operation does not end";
  if (!done(worker, id)) return {Errc::timed_out, "it has not ended"};
  const auto& op = engine(worker).operation(id);
  const End end{op.code, op.detail};
  engine(worker).drop(id);
  return end;
}

bool EnginePathTest::turn() {
  const auto now = clock.now();
  bool moved = scheduler_->poll(now);
  moved |= server_->poll(now);
  for (auto& worker : workers_) moved |= worker.engine->poll(now);
  for (int i = 0; i < steps_ && network.step(); ++i) moved = true;
  clock.pass(turn_time_);
  return moved;
}

bool EnginePathTest::until(const std::function<bool()>& done) {
  auto quiet_since = patience_.now();
  while (!done()) {
    if (turn()) {
      quiet_since = patience_.now();
      continue;
    }
    // The kernel has to move something, or a timer is due.
    std::vector<pollfd> fds;
    for (const auto& process : processes) fds.push_back({process->watched.get(), POLLIN, 0});
    ::poll(fds.data(), fds.size(), 1);
    clock.pass(std::chrono::milliseconds(1));
    if (patience_.now() - quiet_since > std::chrono::seconds(10)) return done();
  }
  return true;
}

}  // namespace shoal::paths::test
