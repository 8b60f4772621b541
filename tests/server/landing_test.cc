// Landing memory when workers do not answer READs: stopped, or driven by a caller that computes.

#include "server/engine/landing.h"

#include <gtest/gtest.h>

#include "tests/server/server_fixture.h"

namespace shoal::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kBlock = Arena::kGranule;

class LandingTest : public testing::Test {
 protected:
  TimePoint at(Duration time) const { return TimePoint{} + time; }
  /// Takes one block after the other until there is no more for this peer.
  std::size_t fill(Peer& peer, TimePoint now) {
    std::size_t blocks = 0;
    for (; landing.take(peer, kBlock) != nullptr; ++blocks) landing.posted(peer, kBlock, now);
    return blocks;
  }

  HostDevice device;
  Landing landing{Arena::create(device, 64 * kBlock).value(), 1s};
  Peer a, b, c;
};

TEST_F(LandingTest, WhoHasReadsUnderWayLeavesAsMuchToOthers) {
  EXPECT_EQ(fill(a, at(0s)), 32u);
  EXPECT_EQ(fill(b, at(0s)), 16u);
  EXPECT_EQ(fill(c, at(0s)), 8u);
  // What has ended, and is given back, counts no more.
  landing.ended(a, 20 * kBlock, at(1s));
  EXPECT_EQ(fill(a, at(1s)), 0u) << "not given back yet";
}

TEST_F(LandingTest, ThatNothingIsUnderWayGivesOneBlockOfTheLast) {
  Peer peers[7];
  std::size_t taken = 0;
  for (auto& peer : peers) taken += fill(peer, at(0s));
  EXPECT_EQ(taken, 64u);
  EXPECT_EQ(landing.stalled(at(10s)), nullptr) << "nobody wants any";
  EXPECT_EQ(landing.stalls_at(), kNever);
  EXPECT_EQ(landing.take(peers[0], kBlock), nullptr);
  EXPECT_EQ(landing.stalled(at(10s)), nullptr) << "its own READs hold it up";
  EXPECT_EQ(landing.take(a, kBlock), nullptr);
  EXPECT_EQ(landing.stalls_at(), at(1s));
  EXPECT_EQ(landing.stalled(at(999ms)), nullptr);
  EXPECT_EQ(landing.stalled(at(1s)), &peers[0]);

  landing.ended(peers[0], 0, at(500ms));  // One of two READs of a part.
  EXPECT_EQ(landing.stalled(at(1s)), &peers[1]) << "who moves goes to the end";
  landing.forget(peers[1]);
  EXPECT_EQ(landing.stalled(at(1s)), &peers[2]);
  landing.ended(peers[1], kBlock, at(1s));
  landing.begin_turn();
  EXPECT_EQ(landing.stalled(at(10s)), nullptr) << "nobody has asked again";
}

/// Seven workers more, of whom six stop while the server READs their pushes.
class SilentWorkers : public ServerTest {
 protected:
  static constexpr std::uint64_t kRows = 16 * 65536;

  void start_silent(std::size_t silent) {
    auto limits = small_limits();
    limits.landing_bytes = 2 * ServerLimits::kPartBytesMax;  // 24 parts
    SimOptions sim;
    sim.keepalive = 600s;
    sim.bulk_time_per_mib = 50ms;
    start({dense(kRows, Apply::on_arrival, unbounded, 0)}, limits, sim);
    for (std::uint32_t id = 30; id < 36; ++id) add_worker(id);
    scheduler->publish();
    ASSERT_TRUE(until([&] {
      return std::all_of(clients.begin(), clients.end(),
                         [](auto& c) { return c->session().open(); });
    }));
    run_for(100ms);
    for (std::size_t i = 0; i < silent; ++i) {
      const auto client = clients.size() - 1 - i;
      const auto reads = server->metrics().reads;
      pushes.push_back(push_ones(client));
      network->wake(client_nodes[client]);
      ASSERT_TRUE(until([&] { return server->metrics().reads > reads; }));
      network->stop(client_nodes[client]);
      run_for(100ms);
    }
  }
  void add_worker(std::uint32_t id) {
    auto& view = scheduler->view();
    NodeInfo node;
    node.id = NodeId(id);
    node.role = Role::worker;
    node.incarnation = Incarnation(id);
    node.name = "node " + std::to_string(id);
    view.nodes.push_back(node);
    view.roster.push_back(
        {NodeId(id), Rank(static_cast<std::uint32_t>(view.roster.size())), WorkerClock(0), 0});
    client_nodes.push_back(network->create_node("client" + std::to_string(id)));
    clients.push_back(std::make_unique<RawClient>(*network, client_nodes.back(), id, Role::worker));
    driver->attach(client_nodes.back(), *clients.back());
  }
  RequestId push_ones(std::size_t client) {
    auto& c = *clients[client];
    return push_all(c, 1, 1,
                    lend(c, reinterpret_cast<std::byte*>(ones.data()), kRows * 4, Access::read));
  }
  /// Each push of the stopped ones is there once; they need nothing but to run again.
  void expect_all_go_on() {
    for (std::size_t i = 0; i < pushes.size(); ++i) {
      const auto client = clients.size() - 1 - i;
      network->resume(client_nodes[client]);
      EXPECT_EQ(wait(*clients[client], pushes[i]).status, Errc::ok);
    }
    EXPECT_EQ(wait(*clients[0], pull(*clients[0], 1, {0, 1}, -1)).floats(),
              std::vector<float>{static_cast<float>(pushes.size() + 1)});
  }

  std::vector<float> ones = std::vector<float>(kRows, 1.0f);
  std::vector<RequestId> pushes;
};

TEST_F(SilentWorkers, LeaveRoomForThePushesOfOthers) {
  start_silent(5);
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(wait(*clients[0], push_ones(0)).status, Errc::ok);
  EXPECT_EQ(server->metrics().reads_given_up, 0u);
  expect_all_go_on();
}

TEST_F(SilentWorkers, LoseTheirSessionsOnceNothingIsLeft) {
  start_silent(6);
  ASSERT_FALSE(HasFatalFailure());
  run_for(10s);
  EXPECT_EQ(server->metrics().reads_given_up, 0u) << "nobody waits";
  EXPECT_EQ(wait(*clients[0], push_ones(0)).status, Errc::ok);
  EXPECT_EQ(server->metrics().reads_given_up, 1u) << "what one held is enough";
  expect_all_go_on();
}

}  // namespace
}  // namespace shoal::test
