#include <sys/resource.h>

#include <algorithm>

#include "tests/verbs/path_fixture.h"

// Devices that fail, wholly or in part, and memory that they do not take: endpoints end, all that
// was under way ends exactly once, and peers find another way.

namespace shoal::paths::test {
namespace {

/// Pairs that a process makes, in order: messages, bulk, READs; preceded by one that only asks.
std::vector<ibv_qp*> made_pairs;
/// What the next calls return; 0: what the adapter does.
int receive_error, poll_error;

Api watched_api() {
  made_pairs.clear();
  receive_error = poll_error = 0;
  auto api = SoftFabric::api();
  api.create_qp = [](ibv_pd* pd, ibv_qp_init_attr* init) {
    made_pairs.push_back(SoftFabric::api().create_qp(pd, init));
    return made_pairs.back();
  };
  api.post_srq_recv = [](ibv_srq* queue, ibv_recv_wr* first, ibv_recv_wr** bad) {
    if (receive_error == 0) return SoftFabric::api().post_srq_recv(queue, first, bad);
    *bad = first;
    return receive_error;
  };
  api.poll_cq = [](ibv_cq* queue, int entries, ibv_wc* completions) {
    return poll_error != 0 ? -poll_error : SoftFabric::api().poll_cq(queue, entries, completions);
  };
  return api;
}

class DeviceFaultsTest : public PathTest {
 protected:
  static constexpr std::uint64_t kOperations = 8;
  static constexpr std::size_t kBytes = 40'000;

  /// READs and WRITEs of `a` under way to `b`, and frames both ways.
  void load(Process& a, EndpointId at_a, Process& b, EndpointId at_b) {
    if (!region_.valid()) {
      region_ = b.transport().register_memory(all(remote_), Access::read_write).value();
      ASSERT_TRUE(ping(a, at_a, b, at_b));
    }
    for (std::uint64_t i = 0; i < kOperations; ++i) {
      const auto view = all(local_[i]);
      if (i % 2 == 0)
        EXPECT_TRUE(a.transport().read(at_a, view, region_.remote(), i + 1).ok());
      else
        EXPECT_TRUE(
            a.transport().write(at_a, {view.data, view.bytes}, region_.remote(), i + 1).ok());
      EXPECT_TRUE(send(a, at_a, i, 3000).ok());
      EXPECT_TRUE(send(b, at_b, i, 3000, Lane::bulk).ok());
    }
  }
  /// Both sides have seen the end; `a`'s operations ended once each, before it.
  void expect_lost(Process& a, EndpointId at_a, Process& b, EndpointId at_b) {
    ASSERT_TRUE(until([&] {
      return a.peer.find_closed(at_a) != nullptr && b.peer.find_closed(at_b) != nullptr;
    }));
    settle(5);
    for (std::uint64_t i = 0; i < kOperations; ++i)
      EXPECT_EQ(a.peer.count(i % 2 == 0 ? Kind::read_done : Kind::write_done, i + 1), 1u) << i;
    for (auto* process : {&a, &b}) {
      EXPECT_EQ(process->peer.count(Kind::closed), 1u);
      EXPECT_EQ(process->peer.seen.back().kind, Kind::closed);
      for (const auto* message : process->peer.messages(process == &a ? at_a : at_b))
        EXPECT_EQ(message->payload.size(), message->header.request.value < 100 ? 3000u : 0u);
      process->peer.seen.clear();
    }
  }
  void TearDown() override {
    region_ = {};
    PathTest::TearDown();
  }

  Bytes remote_ = contract::pattern(kBytes, 1);
  std::array<Bytes, kOperations> local_ = [] {
    std::array<Bytes, kOperations> all;
    for (auto& one : all) one.resize(kBytes);
    return all;
  }();
  Region region_;
};

TEST_F(DeviceFaultsTest, MemoryThatIsNotTakenNamesTheLimit) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  auto lower = limit;
  lower.rlim_cur = std::min<rlim_t>(limit.rlim_max, 8u << 20);
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &lower), 0);
  a.device->fail_registrations(ENOMEM);
  Bytes memory(1u << 20);
  const auto region = a.transport().register_memory(all(memory), Access::read);
  EXPECT_EQ(region.code(), Errc::registration);
  EXPECT_TRUE(mentions(region.error().message(), "registering 1048576 bytes with soft1"));
  EXPECT_TRUE(mentions(region.error().message(), "ulimit -l unlimited"));
  EXPECT_EQ(a.transport().attach(all(memory)).code(), Errc::registration);
  ::setrlimit(RLIMIT_MEMLOCK, &limit);
  a.device->fail_registrations(0);
  EXPECT_TRUE(a.transport().register_memory(all(memory), Access::read).ok());
  EXPECT_TRUE(a.transport().attach(all(memory)).ok());
  EXPECT_TRUE(ping(a, at_a, b, at_b)) << "it costs nobody anything else";
}

TEST_F(DeviceFaultsTest, NoMemoryAtLinkUpMeansTcp) {
  for (const bool at_connector : {true, false}) {
    bool all_worked = false;
    for (int after = 0; !all_worked && after < 10; ++after) {
      SCOPED_TRACE(after);
      auto& a = make();
      auto& b = make();
      auto& poor = at_connector ? a : b;
      Bytes memory(1000);
      const auto region = poor.transport().register_memory(all(memory), Access::read).value();
      poor.device->fail_registrations(ENOMEM, after);
      const auto [at_a, at_b] = connect(a, b);
      EXPECT_TRUE(ping(a, at_a, b, at_b));
      for (const auto& text : {a.transport().explain(at_a), b.transport().explain(at_b)}) {
        all_worked = text.rfind("verbs", 0) == 0;
        EXPECT_TRUE(all_worked || mentions(text, "registering ")) << text;
      }
      poor.device->fail_registrations(0);
      EXPECT_EQ(path_of(a, b).rfind("verbs", 0), 0u) << "the next time";
    }
    EXPECT_TRUE(all_worked);
    processes.clear();
  }
}

TEST_F(DeviceFaultsTest, NoMemoryToCopyThroughEndsTheEndpoint) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  region_ = b.transport().register_memory(all(remote_), Access::read_write).value();
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  a.device->fail_registrations(ENOMEM);
  const Bytes large(500'000);
  const ConstMemoryView view(large.data(), large.size());
  FrameHeader header;
  header.kind = FrameKind::push;
  EXPECT_EQ(a.transport().send(at_a, header, {}, {&view, 1}, {}).code(), Errc::registration)
      << "not overloaded: waiting would not help";
  load(a, at_a, b, at_b);
  expect_lost(a, at_a, b, at_b);
  a.device->fail_registrations(0);
  EXPECT_EQ(path_of(a, b).rfind("verbs", 0), 0u);
}

TEST_F(DeviceFaultsTest, ADeviceOfThePeerThatDies) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  load(a, at_a, b, at_b);
  for (int i = 0; i < 3; ++i) network.step();
  b.device->kill();
  expect_lost(a, at_a, b, at_b);
  EXPECT_TRUE(mentions(path_of(a, b), " says: soft2 port 1"));
  EXPECT_TRUE(mentions(path_of(b, a), "no faster path: verbs: soft2 port 1"));
}

TEST_F(DeviceFaultsTest, ADeviceOfOursThatDies) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  load(a, at_a, b, at_b);
  for (int i = 0; i < 3; ++i) network.step();
  a.device->kill();
  expect_lost(a, at_a, b, at_b);
  EXPECT_TRUE(mentions(path_of(a, b), "no faster path: verbs: soft1 port 1"));
  // Nothing of it keeps a loop awake.
  int turns = 0;
  for (; !a.transport().arm() && turns < 100; ++turns) a.peer.poll();
  EXPECT_LT(turns, 100);
}

TEST_F(DeviceFaultsTest, APortThatGoesDownAndComesUp) {
  for (const bool at_connector : {true, false}) {
    auto& a = make();
    auto& b = make();
    const auto [at_a, at_b] = connect(a, b);
    load(a, at_a, b, at_b);
    auto* device = at_connector ? a.device : b.device;
    device->set_port_state(1, IBV_PORT_DOWN);
    expect_lost(a, at_a, b, at_b);
    EXPECT_TRUE(mentions(path_of(a, b), at_connector ? "verbs: soft1 port 1: the port is down"
                                                     : "verbs: the peer's ports are down"));
    device->set_port_state(1, IBV_PORT_ACTIVE);
    EXPECT_EQ(path_of(a, b).rfind("verbs", 0), 0u);
    region_ = {};
    processes.clear();
  }
}

TEST_F(DeviceFaultsTest, APairInError) {
  for (const std::size_t use : {0u, 1u, 2u}) {
    SCOPED_TRACE(use);
    auto& a = make({.api = watched_api()});
    auto& b = make();
    const auto [at_a, at_b] = connect(a, b);
    load(a, at_a, b, at_b);
    ibv_qp_attr error{};
    error.qp_state = IBV_QPS_ERR;
    ASSERT_EQ(made_pairs.size(), 4u);
    ASSERT_EQ(SoftFabric::api().modify_qp(made_pairs[1 + use], &error, IBV_QP_STATE), 0);
    expect_lost(a, at_a, b, at_b);
    EXPECT_EQ(path_of(a, b).rfind("verbs", 0), 0u);
    region_ = {};
    processes.clear();
  }
}

TEST_F(DeviceFaultsTest, ErroneousCompletions) {
  for (const auto status : {IBV_WC_WR_FLUSH_ERR, IBV_WC_LOC_PROT_ERR, IBV_WC_RETRY_EXC_ERR,
                            IBV_WC_REM_ACCESS_ERR, IBV_WC_GENERAL_ERR})
    for (const auto opcode : {IBV_WC_SEND, IBV_WC_RDMA_WRITE, IBV_WC_RDMA_READ, IBV_WC_RECV}) {
      SCOPED_TRACE(testing::Message() << status << " of " << opcode);
      auto& a = make();
      auto& b = make();
      const auto [at_a, at_b] = connect(a, b);
      load(a, at_a, b, at_b);
      int left = 3;
      a.device->fate = [&](const ibv_wc& wc) -> Fate {
        return {wc.opcode == opcode && --left == 0 ? status : IBV_WC_SUCCESS, {}};
      };
      expect_lost(a, at_a, b, at_b);
      a.device->fate = nullptr;
      EXPECT_EQ(path_of(a, b).rfind("verbs", 0), 0u);
      region_ = {};
      processes.clear();
    }
}

TEST_F(DeviceFaultsTest, ACompletionQueueThatOverflows) {
  auto api = SoftFabric::api();
  api.create_cq = [](ibv_context* context, int, void* user, ibv_comp_channel* channel, int vector) {
    return SoftFabric::api().create_cq(context, 40, user, channel, vector);
  };
  auto& a = make();
  auto& b = make({.api = api});
  const auto [at_a, at_b] = connect(a, b);
  load(a, at_a, b, at_b);
  for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(send(a, at_a, i, 3000).ok());
  a.transport().flush();
  network.run();
  expect_lost(a, at_a, b, at_b);
  EXPECT_EQ(path_of(a, b).rfind("verbs", 0), 0u) << "with another queue";
  EXPECT_EQ(path_of(b, a).rfind("verbs", 0), 0u);
}

TEST_F(DeviceFaultsTest, AQueueThatCannotBePolledAndOneThatTakesNoBuffers) {
  for (int* error : {&poll_error, &receive_error}) {
    auto& b = make();
    auto& a = make({.api = watched_api()});
    const auto [at_a, at_b] = connect(a, b);
    load(a, at_a, b, at_b);
    for (std::uint64_t i = 0; i < 50; ++i) ASSERT_TRUE(send(b, at_b, i, 3000).ok());
    *error = EIO;
    expect_lost(a, at_a, b, at_b);
    *error = 0;
    EXPECT_EQ(path_of(a, b).rfind("verbs", 0), 0u);
    region_ = {};
    processes.clear();
  }
}

}  // namespace
}  // namespace shoal::paths::test
