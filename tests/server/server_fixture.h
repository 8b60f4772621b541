#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/cluster/messages.h"
#include "core/ops/rules.h"
#include "core/table/messages.h"
#include "server/server.h"
#include "transport/session.h"
#include "transport/sim/driver.h"
#include "transport/sim/sim.h"

// A real server on the simulated network, between a scheduler whose views the test writes and
// clients whose frames the test writes.

namespace shoal::test {

/// Says what the test tells it to.
class ScriptedScheduler final : public Pollable {
 public:
  ScriptedScheduler(SimNetwork& network, SimNodeId node)
      : network_(network),
        node_(node),
        transport_(network.start(node)),
        sessions_(*transport_, {.node = NodeId(0), .incarnation = Incarnation(1)}) {
    SHOAL_ASSERT(transport_->listen({"scheduler", 7000}).ok(), "listen");
  }
  bool poll(TimePoint now) override {
    sessions_.poll(now);
    Event events[16];
    const auto count = transport_->poll(events);
    for (std::size_t i = 0; i < count; ++i) {
      SessionServer::Served served;
      if (!sessions_.handle(events[i], now, served)) continue;
      if (served.kind == SessionServer::Kind::request) answer(*served.peer, served.frame);
    }
    return count > 0;
  }
  TimePoint next_timer() const override {
    return std::min(sessions_.next_timer(), transport_->next_timer());
  }
  Transport& transport() override { return *transport_; }

  ClusterView& view() { return view_; }
  /// Sends what the test changed as the next view.
  void publish() {
    ++view_.epoch.number;
    if (mute_views) return;
    FrameHeader header;
    header.kind = FrameKind::view;
    header.epoch = view_.epoch.packed();
    const auto meta = encode_view(view_);
    sessions_.for_each(
        [&](SessionServer::Peer& p) { (void)sessions_.send_notice(p.endpoint, header, meta); });
    network_.wake(node_);
  }
  void set_clock(std::int64_t g) {
    view_.global_clock = WorkerClock(g);
    FrameHeader header;
    header.kind = FrameKind::global_clock;
    header.epoch = view_.epoch.packed();
    header.clock = WorkerClock(g);
    const auto meta =
        encoded(GlobalClock{NodeId(10), static_cast<std::uint32_t>(view_.roster.size())}, 64);
    sessions_.for_each(
        [&](SessionServer::Peer& p) { (void)sessions_.send_notice(p.endpoint, header, meta); });
    network_.wake(node_);
  }
  int views_asked = 0;
  bool mute_views = false;  ///< publish() tells nobody: who wants the view has to ask

 private:
  void answer(SessionServer::Peer& peer, const FrameView& frame) {
    FrameHeader header;
    header.epoch = view_.epoch.packed();
    std::vector<std::byte> meta;
    if (frame.header.kind == FrameKind::get_view) ++views_asked;
    if (frame.header.kind == FrameKind::join) {
      meta = encoded(Joined{NodeId(1), Rank(0), WorkerClock(0), std::chrono::seconds(2),
                            std::chrono::milliseconds(250)},
                     64);
      const auto view = encode_view(view_);
      meta.insert(meta.end(), view.begin(), view.end());
    } else if (frame.header.kind == FrameKind::get_view &&
               Epoch::unpacked(frame.header.epoch) < view_.epoch) {
      meta = encode_view(view_);
    } else {
      header.status = static_cast<std::uint16_t>(Errc::unchanged);
    }
    (void)sessions_.answer(peer.endpoint, frame.header.request, header, meta, {}, {}, false);
  }
  SimNetwork& network_;
  SimNodeId node_;
  std::unique_ptr<Transport> transport_;
  SessionServer sessions_;
  ClusterView view_;
};

/// An answer as a client got it.
struct Got {
  RequestId id;
  Errc status = Errc::ok;
  std::uint16_t flags = 0;
  WorkerClock global_clock;
  AnswerMeta prefix;
  std::vector<Errc> codes;
  std::vector<std::byte> rest;
  std::vector<std::byte> payload;

  std::vector<float> floats() const {
    std::vector<float> values(payload.size() / 4);
    if (!values.empty()) std::memcpy(values.data(), payload.data(), values.size() * 4);
    return values;
  }
};

/// Speaks the wire protocol without a worker's caution.
class RawClient final : public Pollable {
 public:
  RawClient(SimNetwork& network, SimNodeId node, std::uint32_t id, Role role)
      : network_(network), node_(node), transport_(network.start(node)) {
    Session::Options options;
    options.peer = {"server", 7000};
    options.hello = {NodeId(id), Incarnation(id), role, NodeId(1), Incarnation(77)};
    options.seed = id;
    session_ = std::make_unique<Session>(*transport_, options);
  }
  bool poll(TimePoint now) override {
    session_->poll(now);
    Event events[16];
    const auto count = transport_->poll(events);
    for (std::size_t i = 0; i < count; ++i) {
      Incoming in;
      if (!session_->handle(events[i], now, in)) continue;
      if (in.kind == Incoming::Kind::answer) take(in);
      if (in.kind == Incoming::Kind::broken) ++breaks;
      if (in.kind == Incoming::Kind::notice && in.frame.header.kind == FrameKind::credit)
        credits_returned += in.frame.header.credits;
    }
    return count > 0;
  }
  TimePoint next_timer() const override {
    return std::min(session_->next_timer(), transport_->next_timer());
  }
  Transport& transport() override { return *transport_; }
  Session& session() { return *session_; }

  /// The answer to a request, if it has come.
  const Got* answer(RequestId id) const {
    for (const auto& got : answers)
      if (got.id == id) return &got;
    return nullptr;
  }
  template <class Prefix, class Run>
  RequestId send(FrameHeader header, const Prefix& prefix, const std::vector<Run>& runs,
                 std::vector<std::byte> payload = {},
                 std::span<const KeySignature> signatures = {}) {
    const auto runs_end = sizeof prefix + runs.size() * sizeof(Run);
    std::vector<std::byte> meta(runs_end + signatures.size_bytes());
    std::memcpy(meta.data(), &prefix, sizeof prefix);
    std::memcpy(meta.data() + sizeof prefix, runs.data(), runs.size() * sizeof(Run));
    if (!signatures.empty()) {
      std::memcpy(meta.data() + runs_end, signatures.data(), signatures.size_bytes());
      header.flags |= frame_flag::kSigned;
    }
    payloads_.push_back(std::make_unique<std::vector<std::byte>>(std::move(payload)));
    const ConstMemoryView view(payloads_.back()->data(), payloads_.back()->size());
    const auto id = session_->request(
        header, meta, view.bytes != 0 ? std::span(&view, 1) : std::span<const ConstMemoryView>{},
        0);
    SHOAL_ASSERT(id.ok(), "request");
    network_.wake(node_);
    return *id;
  }
  void cancel(RequestId id) {
    FrameHeader header;
    header.kind = FrameKind::cancel;
    header.request = id;
    (void)session_->send_notice(header, {});
    network_.wake(node_);
  }

  std::deque<Got> answers;
  std::uint32_t credits_returned = 0;
  int breaks = 0;

 private:
  void take(const Incoming& in) {
    Got got;
    got.id = in.id;
    got.status = in.status;
    got.flags = in.frame.header.flags;
    got.global_clock = in.frame.header.clock;
    if (const auto parsed = parse_answer(in.frame); parsed.ok()) {
      got.prefix = parsed->prefix;
      for (const auto code : parsed->part_codes) got.codes.push_back(static_cast<Errc>(code));
      got.rest.assign(parsed->rest.begin(), parsed->rest.end());
    } else {
      ADD_FAILURE() << "an answer that does not parse: " << parsed.error().message();
    }
    got.payload.assign(in.frame.payload.begin(), in.frame.payload.end());
    answers.push_back(std::move(got));
  }
  SimNetwork& network_;
  SimNodeId node_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Session> session_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> payloads_;
};

/// Scheduler, server 1, workers 10, 11, 12 and observer 20.
class ServerTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kSlots = 4;

  static ServerLimits small_limits() {
    ServerLimits limits;
    limits.memory_bytes = 64u << 20;
    limits.landing_bytes = 8u << 20;
    limits.waiting_bytes = 1u << 20;
    limits.gather_bytes = 4u << 20;
    limits.copies_max = 8;
    return limits;
  }
  static TableSpec dense(std::uint64_t rows, Apply apply, std::int64_t staleness = 0,
                         std::uint32_t segment_bytes = 256) {
    TableSpec spec;
    spec.rows = rows;
    spec.update = Add{};
    spec.apply = apply;
    spec.staleness = staleness;
    spec.segment_bytes = segment_bytes;
    return spec;
  }
  static TableSpec sparse(Apply apply, std::int64_t staleness = 0) {
    auto spec = dense(0, apply, staleness, 0);
    spec.layout = Layout::sparse;
    return spec;
  }

  void start(std::vector<TableSpec> tables, ServerLimits limits = small_limits(),
             SimOptions sim = {}) {
    stop();
    network = std::make_unique<SimNetwork>(sim);
    driver = std::make_unique<SimDriver>(*network);
    const auto at = network->create_node("scheduler");
    scheduler = std::make_unique<ScriptedScheduler>(*network, at);
    driver->attach(at, *scheduler);
    scheduler_node = at;
    auto& view = scheduler->view();
    view.epoch = {1, 1};
    view.formed = true;
    const auto add_node = [&](std::uint32_t id, Role role) {
      NodeInfo node;
      node.id = NodeId(id);
      node.role = role;
      node.incarnation = Incarnation(id == 1 ? 77 : id);
      node.name = "node " + std::to_string(id);
      node.address = role == Role::server ? "server:7000" : "";
      view.nodes.push_back(node);
    };
    add_node(1, Role::server);
    add_node(2, Role::server);
    for (std::uint32_t id : {10, 11, 12}) add_node(id, Role::worker);
    add_node(20, Role::observer);
    for (std::uint32_t rank = 0; rank < 3; ++rank)
      view.roster.push_back({NodeId(10 + rank), Rank(rank), WorkerClock(0), 0});
    for (auto& spec : tables) add_table(spec);

    server_node = network->create_node("server");
    server_transport = network->start(server_node);
    ASSERT_TRUE(server_transport->listen({"server", 7000}).ok());
    Server::Options options;
    options.link.scheduler = {"scheduler", 7000};
    options.link.join = {Role::server, Incarnation(77), "server 0", "server:7000"};
    options.link.silence = std::chrono::seconds(2);
    options.limits = limits;
    options.faults = faults;
    server = Server::create(*server_transport, device, rules, options).value();
    driver->attach(server_node, *server);
    for (std::uint32_t id : {10, 11, 12, 20}) {
      client_nodes.push_back(network->create_node("client" + std::to_string(id)));
      clients.push_back(std::make_unique<RawClient>(*network, client_nodes.back(), id,
                                                    id == 20 ? Role::observer : Role::worker));
      driver->attach(client_nodes.back(), *clients.back());
    }
    ASSERT_TRUE(until([&] {
      for (auto& client : clients)
        if (!client->session().open()) return false;
      return server->node() == NodeId(1);
    }));
  }
  void TearDown() override { stop(); }
  void stop() {
    if (network == nullptr) return;
    for (const auto& violation : network->violations()) ADD_FAILURE() << violation;
    regions.clear();
    clients.clear();
    client_nodes.clear();
    server.reset();
    server_transport.reset();
    scheduler.reset();
    driver.reset();
    network.reset();
  }
  void add_table(TableSpec spec) {
    auto& view = scheduler->view();
    TableInfo info;
    info.id = TableId(static_cast<std::uint32_t>(view.tables.size() + 1));
    info.spec = std::move(spec);
    info.spec.name = "table" + std::to_string(info.id.value);
    info.start = view.global_clock;
    SlotChain chain;
    chain.length = 1;
    chain.servers[0] = NodeId(1);
    chain.since = {1, 1};
    const auto slots = info.spec.layout == Layout::dense
                           ? std::min<std::uint64_t>(kSlots, Geometry::segment_count(info.spec))
                           : kSlots;
    info.slots.assign(slots, chain);
    view.tables.push_back(std::move(info));
  }
  Geometry geometry(std::uint32_t table) { return scheduler->view().tables[table - 1].geometry(); }

  bool until(const std::function<bool()>& done, Duration limit = std::chrono::seconds(20)) {
    return driver->run_while_not(done, network->now() + limit);
  }
  void run_for(Duration time) { driver->run_until(network->now() + time); }
  const Got& wait(RawClient& client, RequestId id) {
    EXPECT_TRUE(until([&] { return client.answer(id) != nullptr; })) << "no answer came";
    static const Got kNone = [] {
      Got got;
      got.status = Errc::timed_out;
      return got;
    }();
    const auto* got = client.answer(id);
    return got != nullptr ? *got : kNone;
  }

  FrameHeader header_for(FrameKind kind, std::uint32_t table, std::int64_t clock,
                         std::uint16_t flags) {
    FrameHeader header;
    header.kind = kind;
    header.epoch = scheduler->view().epoch.packed();
    header.table = TableId(table);
    header.clock = WorkerClock(clock);
    header.flags = flags;
    return header;
  }
  PushRun push_run(std::uint32_t table, std::uint32_t slot, std::uint64_t q, RowRange rows,
                   std::uint64_t offset = 0) {
    PushRun run;
    run.slot = SlotIndex(slot);
    run.part_count = geometry(table).part_count(rows);
    run.first_q = Sequence(q);
    run.row_begin = rows.begin;
    run.row_count = rows.size();
    run.offset = offset;
    run.since = Epoch{1, 1}.packed();
    return run;
  }
  /// Rows of one slot, all of one value, in the message.
  RequestId push(RawClient& client, std::uint32_t table, std::uint64_t q, RowRange rows,
                 float value, std::int64_t clock = 0, std::uint16_t flags = 0) {
    const auto slot = geometry(table).slot_of(geometry(table).segment_of(rows.begin)).value;
    PushMeta meta;
    meta.run_count = 1;
    std::vector<float> values((flags & frame_flag::kBurnt) != 0 ? 0 : rows.size(), value);
    return client.send(header_for(FrameKind::push, table, clock, flags), meta,
                       std::vector{push_run(table, slot, q, rows)}, bytes(values));
  }
  PullRun pull_run(std::uint32_t table, std::uint32_t slot, RowRange rows, std::uint64_t offset = 0,
                   std::uint64_t after = 0) {
    PullRun run;
    run.slot = SlotIndex(slot);
    run.part_count = geometry(table).part_count(rows);
    run.row_begin = rows.begin;
    run.row_count = rows.size();
    run.offset = offset;
    run.after = Sequence(after);
    run.have = WorkerClock(-1);
    run.since = Epoch{1, 1}.packed();
    return run;
  }
  /// Rows of one slot, in the answer.
  RequestId pull(RawClient& client, std::uint32_t table, RowRange rows, std::int64_t need,
                 std::uint64_t after = 0, Duration time_left = std::chrono::seconds(100)) {
    const auto slot = geometry(table).slot_of(geometry(table).segment_of(rows.begin)).value;
    PullMeta meta;
    meta.run_count = 1;
    meta.need = WorkerClock(need);
    meta.time_left = static_cast<std::uint64_t>(time_left.count());
    return client.send(header_for(FrameKind::pull, table, need, 0), meta,
                       std::vector{pull_run(table, slot, rows, 0, after)});
  }
  WireSpan lend(RawClient& client, std::byte* data, std::size_t size, Access access) {
    regions.push_back(client.transport().register_memory({data, size}, access).value());
    const auto remote = regions.back().remote();
    return {remote.region, remote.address, remote.bytes};
  }
  /// All rows of a dense table, READ by the server from `values`.
  RequestId push_all(RawClient& client, std::uint32_t table, std::uint64_t first_q,
                     const WireSpan& values, std::int64_t clock = 0) {
    PushMeta meta;
    meta.values = values;
    std::vector<PushRun> runs;
    for (std::uint32_t slot = 0; slot < geometry(table).slots(); ++slot) {
      const auto rows = geometry(table).rows_of(SlotIndex(slot));
      runs.push_back(push_run(table, slot, first_q, rows, rows.begin * 4));
    }
    meta.run_count = static_cast<std::uint32_t>(runs.size());
    return client.send(header_for(FrameKind::push, table, clock, frame_flag::kRendezvous), meta,
                       runs);
  }
  /// All rows of a dense table, WRITTEN into `destination`.
  RequestId pull_all(RawClient& client, std::uint32_t table, const WireSpan& destination,
                     std::int64_t need) {
    PullMeta meta;
    meta.destination = destination;
    meta.need = WorkerClock(need);
    meta.time_left = ~std::uint64_t{0};
    std::vector<PullRun> runs;
    for (std::uint32_t slot = 0; slot < geometry(table).slots(); ++slot) {
      const auto rows = geometry(table).rows_of(SlotIndex(slot));
      runs.push_back(pull_run(table, slot, rows, rows.begin * 4));
    }
    meta.run_count = static_cast<std::uint32_t>(runs.size());
    return client.send(header_for(FrameKind::pull, table, need, 0), meta, runs);
  }
  template <class T>
  static std::vector<std::byte> bytes(const std::vector<T>& values) {
    const auto view = std::as_bytes(std::span(values));
    return {view.begin(), view.end()};
  }

  HostDevice device;
  RuleSet rules = RuleSet::builtin();
  ServerFaults faults;
  std::unique_ptr<SimNetwork> network;
  std::unique_ptr<SimDriver> driver;
  SimNodeId scheduler_node, server_node;
  std::vector<SimNodeId> client_nodes;
  std::unique_ptr<ScriptedScheduler> scheduler;
  std::unique_ptr<Transport> server_transport;
  std::unique_ptr<Server> server;
  std::vector<std::unique_ptr<RawClient>> clients;
  std::vector<Region> regions;
};

}  // namespace shoal::test
