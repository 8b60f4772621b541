#include "transport/sim/sim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "tests/transport/contract.h"

// The simulated network's own promises: every fault does what it says.

namespace shoal {
namespace {

using contract::all;
using contract::pattern;
using contract::Peer;
using contract::Seen;
using Kind = Event::Kind;
using Bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

/// Two machines, b listening, connected.
class SimTest : public testing::Test {
 protected:
  explicit SimTest(const SimOptions& options = {.seed = 7}) : network(options) {
    node_a = network.create_node("a");
    node_b = network.create_node("b");
    a.node.transport = network.start(node_a);
    b.node.transport = network.start(node_b);
    address = b.transport().listen({"b", 7000}).value();
    std::tie(at_a, at_b) = connect();
  }

  std::pair<EndpointId, EndpointId> connect() {
    const auto before = b.accepted.size();
    const auto connected = a.count(Kind::connected);
    const auto endpoint = a.transport().connect(address, kNever).value();
    EXPECT_TRUE(until(
        [&] { return a.count(Kind::connected) > connected && b.accepted.size() > before; }, 5s));
    return {endpoint, b.accepted.back()};
  }
  void poll() {
    if (a.node.transport) a.poll();
    if (b.node.transport) b.poll();
  }
  template <class Done>
  bool until(Done done, Duration limit) {
    const auto end = network.now() + limit;
    for (;;) {
      poll();
      if (done()) return true;
      if (network.next_event_time() > end || !network.step()) {
        network.run_until(end);
        return false;
      }
    }
  }
  void pass(Duration time) {
    until([] { return false; }, time);
  }
  Status send(Peer& from, EndpointId to, std::uint64_t number, Lane lane = Lane::message) {
    FrameHeader header;
    header.kind = FrameKind::push;
    header.request = RequestId(number);
    return from.transport().send(to, header, {}, {}, {.lane = lane});
  }
  std::size_t got(const Peer& peer) const { return peer.count(Kind::message); }
  static Errc closed_with(const Peer& peer, EndpointId endpoint) {
    const auto* closed = peer.find_closed(endpoint);
    return closed == nullptr ? Errc::ok : closed->status;
  }

  SimNetwork network;
  SimNodeId node_a, node_b;
  Peer a, b;
  Address address;
  EndpointId at_a, at_b;
};

// --- Processes.

TEST_F(SimTest, ACrashClosesItsConnectionsAndItsPortsRefuse) {
  network.crash(node_b);
  EXPECT_FALSE(network.alive(node_b));
  EXPECT_EQ(b.poll(), 0u);
  EXPECT_EQ(send(b, at_b, 1).code(), Errc::closed);
  EXPECT_FALSE(b.transport().connect(address, kNever).ok());
  ASSERT_TRUE(until([&] { return closed_with(a, at_a) == Errc::peer_lost; }, 1s));
  const auto again = a.transport().connect(address, kNever).value();
  ASSERT_TRUE(until([&] { return closed_with(a, again) == Errc::refused; }, 1s));
  // The next process on the machine takes the same port.
  b.node.transport = network.start(node_b);
  EXPECT_EQ(b.transport().listen(address).value(), address);
  connect();
  EXPECT_EQ(network.connections(), 1u);
}

TEST_F(SimTest, ACrashedProcessIsNotTouched) {
  Bytes memory(100'000, std::byte{1});
  const Bytes source(memory.size(), std::byte{2});
  auto region = b.transport().register_memory(all(memory), Access::read_write).value();
  ASSERT_TRUE(a.transport().write(at_a, all(source), region.remote(), 1).ok());
  network.crash(node_b);
  pass(1s);
  EXPECT_EQ(std::count(memory.begin(), memory.end(), std::byte{1}), 100'000);
  EXPECT_EQ(a.count(Kind::write_done, 1), 1u);
}

TEST_F(SimTest, ASilentCrashIsSeenByKeepaliveOnly) {
  network.crash(node_b, /*silent=*/true);
  const auto at = network.now();
  EXPECT_TRUE(send(a, at_a, 1).ok()) << "a knows nothing";
  const auto endpoint = a.transport().connect(address, network.now() + 100ms).value();
  ASSERT_TRUE(until([&] { return closed_with(a, endpoint) == Errc::timed_out; }, 1s));
  EXPECT_GE(network.now(), at + 100ms);
  EXPECT_EQ(closed_with(a, at_a), Errc::ok);
  ASSERT_TRUE(until([&] { return closed_with(a, at_a) == Errc::peer_lost; }, 5s));
  EXPECT_GE(network.now() - at, 2s);
  EXPECT_EQ(network.connections(), 0u);
}

TEST_F(SimTest, ARestartAfterASilentCrashResetsOldConnections) {
  network.crash(node_b, /*silent=*/true);
  pass(50ms);
  const auto at = network.now();
  b.node.transport = network.start(node_b);
  ASSERT_TRUE(until([&] { return closed_with(a, at_a) == Errc::peer_lost; }, 5s));
  EXPECT_LT(network.now() - at, 1s) << "a reset, not keepalive";
  EXPECT_EQ(got(a), 0u);
}

TEST_F(SimTest, AStoppedProcessDoesNothingAndGoesOnLater) {
  Bytes memory(200'000, std::byte{1});
  const Bytes source(memory.size(), std::byte{2});
  auto region = b.transport().register_memory(all(memory), Access::read_write).value();
  Bytes into(memory.size());
  network.stop(node_b);
  for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(send(a, at_a, i).ok());
  ASSERT_TRUE(a.transport().write(at_a, all(source), region.remote(), 1).ok());
  ASSERT_TRUE(a.transport().read(at_a, all(into), region.remote(), 2).ok());
  pass(10s);
  EXPECT_EQ(std::count(memory.begin(), memory.end(), std::byte{1}), 200'000) << "nothing lands";
  EXPECT_EQ(a.count(Kind::read_done), 0u) << "nothing is answered";
  EXPECT_EQ(closed_with(a, at_a), Errc::ok) << "its kernel still answers keepalives";
  EXPECT_EQ(b.poll(), 0u);
  EXPECT_FALSE(network.has_events(node_b));
  network.resume(node_b);
  ASSERT_TRUE(until([&] { return got(b) == 10 && a.count(Kind::read_done, 2) == 1; }, 1s));
  EXPECT_EQ(std::count(memory.begin(), memory.end(), std::byte{2}), 200'000);
  EXPECT_EQ(into, source) << "the read follows the write on its lane";
}

TEST_F(SimTest, AStoppedProcessSendsNothing) {
  Bytes memory(200'000, std::byte{1});
  Bytes source(memory.size(), std::byte{2});
  auto region = a.transport().register_memory(all(memory), Access::write).value();
  ASSERT_TRUE(b.transport().write(at_b, all(std::as_const(source)), region.remote(), 1).ok());
  network.stop(node_b);
  pass(10s);
  region.revoke();
  std::fill(memory.begin(), memory.end(), std::byte{3});
  a.transport().close(at_a);
  network.resume(node_b);
  ASSERT_TRUE(until([&] { return closed_with(b, at_b) == Errc::peer_lost; }, 1s));
  EXPECT_EQ(b.count(Kind::write_done, 1), 1u);
  EXPECT_EQ(std::count(memory.begin(), memory.end(), std::byte{3}), 200'000);
}

TEST_F(SimTest, AStoppedListenerConnectsNobody) {
  network.stop(node_b);
  const auto endpoint = a.transport().connect(address, network.now() + 200ms).value();
  ASSERT_TRUE(until([&] { return closed_with(a, endpoint) == Errc::timed_out; }, 1s));
  const auto other = a.transport().connect(address, network.now() + 1s).value();
  pass(100ms);
  network.resume(node_b);
  const auto connected = [&] {
    return std::any_of(a.seen.begin(), a.seen.end(), [&](const Seen& what) {
      return what.kind == Kind::connected && what.endpoint == other;
    });
  };
  EXPECT_TRUE(until(connected, 1s));
}

TEST_F(SimTest, AWindowBoundsWhatAStoppedProcessIsSent) {
  network.stop(node_b);
  std::uint64_t posted = 0;
  while (posted < 10'000 && send(a, at_a, posted).ok()) ++posted;
  EXPECT_LT(posted, 1'000u);
  EXPECT_EQ(send(a, at_a, posted).code(), Errc::overloaded);
  network.resume(node_b);
  ASSERT_TRUE(until([&] { return got(b) == posted; }, 1s));
}

// --- Links.

TEST_F(SimTest, AShortPartitionDelaysAndLosesNothing) {
  network.partition(node_a, node_b);
  for (std::uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(send(a, at_a, i).ok());
  pass(500ms);
  EXPECT_EQ(got(b), 0u);
  network.heal(node_a, node_b);
  ASSERT_TRUE(until([&] { return got(b) == 20; }, 1s));
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(b.messages(at_b)[i]->header.request.value, i);
  pass(10s);
  EXPECT_EQ(closed_with(a, at_a), Errc::ok);
  EXPECT_EQ(closed_with(b, at_b), Errc::ok);
}

TEST_F(SimTest, ALongPartitionEndsBothSidesEachInItsTime) {
  network.partition(node_a, node_b);
  const auto at = network.now();
  TimePoint seen_a{}, seen_b{};
  ASSERT_TRUE(until(
      [&] {
        if (seen_a == TimePoint{} && closed_with(a, at_a) == Errc::peer_lost)
          seen_a = network.now();
        if (seen_b == TimePoint{} && closed_with(b, at_b) == Errc::peer_lost)
          seen_b = network.now();
        return seen_a != TimePoint{} && seen_b != TimePoint{};
      },
      10s));
  EXPECT_NE(seen_a, seen_b) << "half open in between";
  EXPECT_GE(std::min(seen_a, seen_b) - at, 2s);
  EXPECT_LE(std::max(seen_a, seen_b) - at, 3s + 1ms);
  network.heal_all();
  connect();
}

TEST_F(SimTest, CloseDuringAPartitionIsLearntAfterIt) {
  network.partition(node_a, node_b);
  a.transport().close(at_a);
  pass(1s);
  EXPECT_EQ(closed_with(b, at_b), Errc::ok);
  EXPECT_TRUE(send(b, at_b, 1).ok()) << "half open";
  network.heal(node_a, node_b);
  EXPECT_TRUE(until([&] { return closed_with(b, at_b) == Errc::peer_lost; }, 900ms));
  EXPECT_EQ(got(a), 0u);
}

TEST_F(SimTest, OneWayCut) {
  network.cut(node_a, node_b);
  ASSERT_TRUE(send(a, at_a, 1).ok());
  ASSERT_TRUE(send(b, at_b, 2).ok());
  pass(300ms);
  EXPECT_EQ(got(a), 1u);
  EXPECT_EQ(got(b), 0u);
  const auto endpoint = a.transport().connect(address, network.now() + 100ms).value();
  EXPECT_TRUE(until([&] { return closed_with(a, endpoint) == Errc::timed_out; }, 1s));
}

TEST_F(SimTest, AConnectThroughAPartitionThatHealsSucceeds) {
  network.isolate(node_b);
  const auto before = b.accepted.size();
  ASSERT_TRUE(a.transport().connect(address, network.now() + 1s).ok());
  pass(500ms);
  EXPECT_EQ(b.accepted.size(), before);
  network.heal_all();
  EXPECT_TRUE(until([&] { return b.accepted.size() > before; }, 400ms));
}

TEST_F(SimTest, DroppedConnectionsEndOnBothSidesAndLoseWhatWasUnderWay) {
  for (std::uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(send(a, at_a, i).ok());
    ASSERT_TRUE(send(b, at_b, i, Lane::bulk).ok());
  }
  network.drop_connections(node_a, node_b);
  ASSERT_TRUE(until(
      [&] {
        return closed_with(a, at_a) == Errc::peer_lost && closed_with(b, at_b) == Errc::peer_lost;
      },
      1s));
  EXPECT_EQ(got(a) + got(b), 0u);
  EXPECT_EQ(network.connections(), 0u);
  connect();
}

TEST_F(SimTest, UnknownHostsAreAnError) {
  const auto endpoint = a.transport().connect({"nowhere", 1}, network.now() + 1s).value();
  EXPECT_TRUE(until([&] { return closed_with(a, endpoint) == Errc::io; }, 500ms));
}

TEST_F(SimTest, ASlowNodeIsSlow) {
  const auto round = [&] {
    const auto at = network.now();
    const auto before = got(b);
    for (std::uint64_t i = 0; i < 50; ++i) {
      EXPECT_TRUE(send(a, at_a, i).ok());
      EXPECT_TRUE(until([&] { return got(b) == before + i + 1; }, 60s));
    }
    return network.now() - at;
  };
  network.set_link(node_a, node_b, {.delay_min = 10us, .delay_max = 20us, .straggle = 0});
  const auto fast = round();
  network.slow(node_b, 50);
  EXPECT_GT(round(), 20 * fast);
}

// --- Torn data, for whoever breaks the rules.

class TornTest : public SimTest {
 protected:
  static constexpr std::size_t kBytes = 4'000;
};

TEST_F(TornTest, AWriteLandsInPieces) {
  bool halfway = false;
  for (std::uint64_t round = 1; round <= 20 && !halfway; ++round) {
    Bytes target(kBytes, std::byte{1});
    const Bytes source(kBytes, std::byte{2});
    auto region = b.transport().register_memory(all(target), Access::write).value();
    ASSERT_TRUE(a.transport().write(at_a, all(source), region.remote(), round).ok());
    ASSERT_TRUE(until(
        [&] {
          const auto landed = std::count(target.begin(), target.end(), std::byte{2});
          halfway |= landed > 0 && landed < static_cast<long>(kBytes);
          return landed == static_cast<long>(kBytes);
        },
        5s));
  }
  EXPECT_TRUE(halfway);
}

TEST_F(TornTest, ARevokedRegionSeesNoLaterPiece) {
  bool halfway = false;
  for (std::uint64_t round = 1; round <= 20; ++round) {
    Bytes target(kBytes, std::byte{1});
    const Bytes source(kBytes, std::byte{2});
    auto region = b.transport().register_memory(all(target), Access::write).value();
    ASSERT_TRUE(a.transport().write(at_a, all(source), region.remote(), round).ok());
    const auto landed = [&] { return std::count(target.begin(), target.end(), std::byte{2}); };
    ASSERT_TRUE(until([&] { return landed() > 0; }, 5s));
    region.revoke();
    const auto at_revoke = landed();
    halfway |= at_revoke < static_cast<long>(kBytes);
    pass(100ms);
    ASSERT_EQ(landed(), at_revoke);
  }
  EXPECT_TRUE(halfway);
}

TEST_F(TornTest, AReadSeesItsSourceChange) {
  bool torn = false;
  for (std::uint64_t round = 1; round <= 50 && !torn; ++round) {
    Bytes source(kBytes, std::byte{1}), into(kBytes);
    auto region = b.transport().register_memory(all(source), Access::read).value();
    ASSERT_TRUE(a.transport().read(at_a, all(into), region.remote(), round).ok());
    ASSERT_TRUE(until(
        [&] {
          if (into[0] == std::byte{1}) std::fill(source.begin(), source.end(), std::byte{2});
          return a.count(Kind::read_done, round) == 1;
        },
        5s));
    torn = std::count(into.begin(), into.end(), std::byte{2}) > 0;
  }
  EXPECT_TRUE(torn);
}

TEST_F(TornTest, SourcesOfSendsAreReadUntilTheyComplete) {
  bool changed = false;
  for (std::uint64_t round = 1; round <= 20 && !changed; ++round) {
    Bytes source(kBytes, std::byte{1});
    FrameHeader header;
    header.kind = FrameKind::push;
    const ConstMemoryView view = all(std::as_const(source));
    ASSERT_TRUE(a.transport().send(at_a, header, {}, {&view, 1}, {.context = round}).ok());
    std::fill(source.begin(), source.end(), std::byte{2});  // the loan has not ended
    ASSERT_TRUE(until([&] { return got(b) == round && a.count(Kind::sent, round) == 1; }, 5s));
    changed = b.messages(at_b).back()->payload[0] == std::byte{2};
  }
  EXPECT_TRUE(changed);
}

TEST_F(TornTest, ProtectedMemoryReportsEveryByteThatMoves) {
  Bytes target(kBytes), other(kBytes);
  const Bytes source(kBytes, std::byte{2});
  auto region = b.transport().register_memory(all(target), Access::read_write).value();
  auto beside = b.transport().register_memory(all(other), Access::read_write).value();
  network.protect(all(std::as_const(target)));
  ASSERT_TRUE(a.transport().write(at_a, all(source), beside.remote(), 1).ok());
  pass(1s);
  EXPECT_TRUE(network.violations().empty());
  ASSERT_TRUE(
      a.transport().write(at_a, all(source).sub(0, 1), region.remote(kBytes - 1, 1), 2).ok());
  pass(1s);
  ASSERT_EQ(network.violations().size(), 1u);
  EXPECT_NE(network.violations()[0].find("landed in memory of b"), std::string::npos);
  Bytes into(1);
  ASSERT_TRUE(a.transport().read(at_a, all(into), region.remote(0, 1), 3).ok());
  pass(1s);
  EXPECT_EQ(network.violations().size(), 2u);
  network.unprotect(all(std::as_const(target)));
  ASSERT_TRUE(a.transport().write(at_a, all(source), region.remote(), 4).ok());
  pass(1s);
  EXPECT_EQ(network.violations().size(), 2u);
}

TEST_F(SimTest, ConnectionsAndLanesOvertakeEachOther) {
  const auto [other_a, other_b] = connect();
  bool connections_swap = false, lanes_swap = false;
  for (std::uint64_t round = 0; round < 100; ++round) {
    b.seen.clear();
    ASSERT_TRUE(send(a, at_a, 1).ok() && send(a, other_a, 2).ok());
    ASSERT_TRUE(send(a, at_a, 3, Lane::bulk).ok() && send(a, at_a, 4).ok());
    ASSERT_TRUE(until([&] { return got(b) == 4; }, 5s));
    std::map<std::uint64_t, std::size_t> place;
    for (std::size_t i = 0; i < b.seen.size(); ++i) place[b.seen[i].header.request.value] = i;
    connections_swap |= place[2] < place[1];
    lanes_swap |= place[4] < place[3];
    ASSERT_LT(place[1], place[4]);
  }
  EXPECT_TRUE(connections_swap);
  EXPECT_TRUE(lanes_swap);
}

}  // namespace
}  // namespace shoal
