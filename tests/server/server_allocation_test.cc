#include <gtest/gtest.h>

#include <filesystem>

#include "core/ops/rules.h"
#include "core/table/messages.h"
#include "core/trace/trace.h"
#include "server/server.h"
#include "tests/support/allocations.h"
#include "tests/support/temp_dir.h"
#include "tests/transport/fake_transport.h"

// The message path allocates nothing once its tables have grown.

namespace shoal {
namespace {

using test::FakeTransport;
using test::header_of;
using test::meta_of;

class AllocationTest : public testing::Test {
 protected:
  void poll() { server->poll(now += std::chrono::microseconds(10)); }
  /// Plays the scheduler and a worker's hello.
  void start(const TableSpec& spec) {
    ServerLimits limits;
    limits.memory_bytes = 32u << 20;
    Server::Options options;
    options.link.scheduler = {"scheduler", 7000};
    options.link.join = {Role::server, Incarnation(77), "server 0", "server:7000"};
    options.link.silence = std::chrono::hours(1);
    options.limits = limits;
    options.trace = trace.get();
    server = Server::create(transport, device, rules, options).value();
    poll();
    ASSERT_EQ(transport.connected.size(), 1u);
    const auto link = transport.connected[0];
    transport.incoming = {FakeTransport::event(Event::Kind::connected, link)};
    poll();
    const auto welcome = meta_of(Welcome{NodeId(0), Incarnation(1), 64, 64});
    transport.incoming = {FakeTransport::message(link, header_of(FrameKind::welcome), welcome)};
    poll();
    poll();
    ASSERT_EQ(transport.last().header.kind, FrameKind::join);
    ClusterView view;
    view.epoch = {1, 1};
    view.formed = true;
    NodeInfo node;
    node.id = NodeId(1);
    node.address = "server:7000";
    view.nodes.push_back(node);
    node.id = NodeId(10);
    node.role = Role::worker;
    view.nodes.push_back(node);
    view.roster.push_back({NodeId(10), Rank(0), WorkerClock(0), 0});
    TableInfo table;
    table.id = TableId(1);
    table.spec = spec;
    SlotChain chain;
    chain.length = 1;
    chain.servers[0] = NodeId(1);
    chain.since = {1, 1};
    table.slots.assign(1, chain);
    view.tables.push_back(table);
    auto joined = meta_of(
        Joined{NodeId(1), Rank(0), WorkerClock(0), std::chrono::hours(1), std::chrono::hours(1)});
    const auto bytes = encode_view(view);
    joined.insert(joined.end(), bytes.begin(), bytes.end());
    auto answer = header_of(FrameKind::answer, transport.last().header.request, 1);
    answer.epoch = view.epoch.packed();
    transport.incoming = {FakeTransport::message(link, answer, joined)};
    poll();
    ASSERT_EQ(server->node(), NodeId(1));
    worker = transport.fresh();
    const auto hello = meta_of(Hello{NodeId(10), Incarnation(10), Role::worker, {}, {}});
    transport.incoming = {FakeTransport::event(Event::Kind::accepted, worker)};
    poll();
    transport.incoming = {FakeTransport::message(worker, header_of(FrameKind::hello), hello)};
    poll();
  }
  template <class Prefix, class Run>
  void request(FrameKind kind, std::uint16_t flags, const Prefix& prefix, const Run& run,
               std::span<const std::byte> payload) {
    std::memcpy(meta, &prefix, sizeof prefix);
    std::memcpy(meta + sizeof prefix, &run, sizeof run);
    auto header = header_of(kind, RequestId(++next_request));
    header.epoch = Epoch{1, 1}.packed();
    header.table = TableId(1);
    header.flags = flags;
    transport.forget();
    transport.incoming.push_back(
        FakeTransport::message(worker, header, {meta, sizeof prefix + sizeof run}, payload));
    const auto before = test::allocations();
    poll();
    poll();
    counted += test::allocations() - before;
    ASSERT_GE(transport.sent_count(), 1u);
    ASSERT_EQ(transport.last().header.status, 0)
        << name_of(static_cast<Errc>(transport.last().header.status));
  }
  void push_and_pull(std::uint16_t flags, std::uint64_t rows, std::span<const std::byte> payload,
                     std::size_t key_bytes) {
    PushMeta push;
    push.run_count = 1;
    PushRun run;
    run.part_count = 1;
    run.first_q = Sequence(++next_q);
    run.row_count = rows;
    run.since = Epoch{1, 1}.packed();
    request(FrameKind::push, flags, push, run, payload);
    PullMeta pull;
    pull.run_count = 1;
    pull.need = WorkerClock(-1);
    pull.time_left = ~std::uint64_t{0};
    PullRun asked;
    asked.part_count = 1;
    asked.row_count = rows;
    asked.after = Sequence(next_q);
    asked.have = WorkerClock(-1);
    asked.since = run.since;
    request(FrameKind::pull, flags, pull, asked, payload.first(key_bytes));
  }

  /// Before start().
  void trace_it() {
    trace = Trace::open((directory.path() / "t.json").string(), "server", trace_clock).value();
  }

  /// Pushes and pulls 1000 dense rows until all is warm, then counts.
  void expect_none_for_ranges() {
    ASSERT_FALSE(HasFatalFailure());
    const std::vector<float> values(1000, 1.0f);
    const auto repeat = [&](int times) {
      for (int i = 0; i < times; ++i) push_and_pull(0, 1000, std::as_bytes(std::span(values)), 0);
    };
    repeat(50);
    counted = 0;
    repeat(200);
    EXPECT_EQ(counted, 0u);
  }

  TempDir directory;
  SteadyClock trace_clock;
  std::unique_ptr<Trace> trace;
  FakeTransport transport;
  HostDevice device;
  RuleSet rules = RuleSet::builtin();
  std::unique_ptr<Server> server;
  EndpointId worker;
  TimePoint now{std::chrono::seconds(1)};
  alignas(8) std::byte meta[256];
  std::uint64_t next_request = 0;
  std::uint64_t next_q = 0;
  std::uint64_t counted = 0;
};

TEST_F(AllocationTest, EagerDensePushesAndPulls) {
  TableSpec spec;
  spec.name = "t";
  spec.rows = 1000;
  spec.update = Adam{};
  spec.apply = Apply::on_arrival;
  spec.staleness = unbounded;
  start(spec);
  expect_none_for_ranges();
}

TEST_F(AllocationTest, TracedPushesAndPulls) {
  TableSpec spec;
  spec.name = "t";
  spec.rows = 1000;
  spec.apply = Apply::on_arrival;
  spec.staleness = unbounded;
  trace_it();
  start(spec);
  expect_none_for_ranges();
  server.reset();
  const auto path = trace->path();
  trace.reset();
  EXPECT_GT(std::filesystem::file_size(path), 500u * 100);  // it was traced
}

TEST_F(AllocationTest, EagerSparsePushesAndPulls) {
  TableSpec spec;
  spec.name = "t";
  spec.layout = Layout::sparse;
  spec.update = Ftrl{};
  spec.apply = Apply::on_arrival;
  spec.staleness = unbounded;
  start(spec);
  std::vector<std::uint64_t> payload(150);  // 100 keys, then 100 floats
  for (std::uint64_t i = 0; i < 100; ++i) payload[i] = i * i;
  const auto bytes = std::as_bytes(std::span(payload));
  ASSERT_FALSE(HasFatalFailure());
  for (int i = 0; i < 50; ++i) push_and_pull(frame_flag::kKeyList, 100, bytes, 800);
  counted = 0;
  for (int i = 0; i < 200; ++i) push_and_pull(frame_flag::kKeyList, 100, bytes, 800);
  EXPECT_EQ(counted, 0u);
}

}  // namespace
}  // namespace shoal
