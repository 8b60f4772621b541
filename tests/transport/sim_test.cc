#include "transport/sim/sim.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <string>

#include "core/base/random.h"
#include "tests/transport/contract.h"
#include "transport/sim/driver.h"

// The simulated network's own promises: one seed, one run; and every fault does what it says.

namespace shoal {
namespace {

using contract::pattern;
using contract::Peer;
using contract::Seen;
using Kind = Event::Kind;
using Bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

MemoryView all(Bytes& bytes) { return host_view(std::span(bytes)); }
ConstMemoryView all(const Bytes& bytes) { return {bytes.data(), bytes.size()}; }

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

// --- Time and turns.

TEST(SimTime, ScriptsRunInOrderOfTimeThenOfScheduling) {
  SimNetwork network({});
  const auto start = network.now();
  std::string order;
  network.at(start + 2ms, [&] { order += 'c'; });
  network.at(start + 1ms, [&] { order += 'a'; });
  network.at(start + 1ms, [&] {
    order += 'b';
    network.at(start, [&] { order += '!'; });  // past: at once
  });
  EXPECT_EQ(network.next_event_time(), start + 1ms);
  EXPECT_TRUE(network.step());
  EXPECT_EQ(network.now(), start + 1ms);
  network.run_until(start + 1500us);
  EXPECT_EQ(order, "ab!");
  EXPECT_EQ(network.now(), start + 1500us);
  network.run_until(start + 1s);
  EXPECT_EQ(order, "ab!c");
  EXPECT_FALSE(network.step());
  EXPECT_EQ(network.next_event_time(), kNever);
}

/// Answers every message, and counts the beats of a timer.
class Echo final : public Pollable {
 public:
  Echo(Transport& transport, const Clock& clock, Duration beat)
      : transport_(transport), next_(clock.now() + beat), beat_(beat) {}
  bool poll(TimePoint now) override {
    ++turns;
    if (now >= next_) {
      ++beats;
      EXPECT_EQ(now, next_) << "a timer is due to the nanosecond";
      next_ = now + beat_;
    }
    std::array<Event, 4> events;
    const auto count = transport_.poll(events);
    for (std::size_t i = 0; i < count; ++i) {
      if (events[i].kind == Event::Kind::connected) first = events[i].endpoint;
      if (events[i].kind != Event::Kind::message) continue;
      ++messages;
      EXPECT_TRUE(transport_.send(events[i].endpoint, events[i].frame.header, {}, {}, {}).ok());
    }
    return count > 0;
  }
  TimePoint next_timer() const override { return next_; }
  Transport& transport() override { return transport_; }

  int turns = 0, beats = 0, messages = 0;
  EndpointId first;

 private:
  Transport& transport_;
  TimePoint next_;
  Duration beat_;
};

TEST(SimDriverTest, GivesTurnsForTrafficAndTimers) {
  SimNetwork network({.seed = 3});
  const auto node_a = network.create_node("a"), node_b = network.create_node("b");
  auto a = network.start(node_a), b = network.start(node_b);
  const auto address = b->listen({"b", 0}).value();
  Echo echo_a(*a, network.clock(), 10ms), echo_b(*b, network.clock(), 3ms);
  SimDriver driver(network);
  driver.attach(node_a, echo_a);
  driver.attach(node_b, echo_b);
  int checks = 0;
  driver.after_each([&] { ++checks; });
  ASSERT_TRUE(a->connect(address, kNever).ok());
  ASSERT_TRUE(driver.run_while_not([&] { return echo_a.first.value != 0; }, network.now() + 1s));
  FrameHeader header;
  header.kind = FrameKind::push;
  ASSERT_TRUE(a->send(echo_a.first, header, {}, {}, {}).ok());
  const auto start = network.now();
  driver.run_until(start + 300ms);
  EXPECT_EQ(network.now(), start + 300ms);
  EXPECT_GT(echo_a.messages, 100);
  EXPECT_GE(echo_a.beats, 29);
  EXPECT_LE(echo_a.beats, 31);
  EXPECT_GE(echo_b.beats, 98);
  EXPECT_GT(checks, echo_a.turns + echo_b.turns);
  // A stopped process gets no turn, not even for its timer; a detached one neither.
  network.stop(node_b);
  const auto turns = echo_b.turns;
  driver.run_until(start + 600ms);
  EXPECT_EQ(echo_b.turns, turns);
  driver.detach(node_a);
  const auto turns_a = echo_a.turns;
  driver.run_until(start + 900ms);
  EXPECT_EQ(echo_a.turns, turns_a);
}

TEST(SimDriverTest, AResumedProcessGetsItsTurn) {
  SimNetwork network({.seed = 3});
  const auto node = network.create_node("a");
  auto transport = network.start(node);
  SimDriver driver(network);
  network.run_until(network.now() + 1s);
  class Idle final : public Pollable {
   public:
    explicit Idle(Transport& transport) : transport_(transport) {}
    bool poll(TimePoint) override { return ++turns, false; }
    TimePoint next_timer() const override { return kNever; }
    Transport& transport() override { return transport_; }
    int turns = 0;

   private:
    Transport& transport_;
  } idle(*transport);
  driver.attach(node, idle);
  network.stop(node);
  driver.run_until(network.now() + 1s);
  EXPECT_EQ(idle.turns, 0);
  network.resume(node);
  driver.run_until(network.now() + 1s);
  EXPECT_EQ(idle.turns, 1);
  network.wake(node);
  driver.run_until(network.now() + 1s);
  EXPECT_EQ(idle.turns, 2);
}

// --- Random faults: whatever happens, the contract holds; the same seed gives the same run.

/// How much the storms left standing: a test in which nothing works would prove nothing.
struct Tally {
  std::uint64_t messages = 0, completed = 0, failed = 0, connected = 0, closed = 0;
};

class Storm {
 public:
  Storm(std::uint64_t seed, Tally& tally)
      : network_({.seed = seed, .keepalive = 200ms, .retransmit_max = 20ms}),
        random_(~seed),
        tally_(tally) {
    for (std::uint32_t i = 0; i < kNodes; ++i) {
      nodes_[i] = network_.create_node(fmt::format("n{}", i));
      start(i);
    }
  }

  /// The run's hash.
  std::uint64_t run() {
    for (int i = 0; i < 600; ++i) {
      act();
      for (auto steps = random_.below(12); steps > 0; --steps) turn();
    }
    network_.heal_all();
    for (const auto node : nodes_) network_.resume(node);
    // All that was posted ends, with or without its connection.
    const auto limit = network_.now() + 20s;
    while (network_.next_event_time() < limit) turn();
    for (std::uint32_t i = 0; i < kNodes; ++i) {
      drain(i);
      EXPECT_TRUE(process(i).pending.empty()) << "never completed";
    }
    for (std::uint32_t i = 0; i < kNodes; ++i) stop_process(i);
    network_.run_until(network_.now() + 20s);
    EXPECT_EQ(network_.connections(), 0u) << "a connection that nobody has any more";
    EXPECT_TRUE(network_.violations().empty());
    return network_.trace_hash();
  }

 private:
  static constexpr std::uint32_t kNodes = 4;
  static constexpr std::size_t kMemory = 3'000;

  struct Endpoint {
    EndpointId id;
    std::array<std::uint64_t, 2> sent{};  // by lane
    std::array<std::uint64_t, 2> received{};
  };
  struct Process {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Bytes> memory;
    Region region;
    std::vector<Endpoint> endpoints;
    std::map<std::uint64_t, std::unique_ptr<Bytes>> pending;  // by context: lent memory
  };
  Process& process(std::uint32_t i) { return processes_[i]; }

  void start(std::uint32_t i) {
    auto& p = process(i);
    p.transport = network_.start(nodes_[i]);
    EXPECT_TRUE(p.transport->listen({fmt::format("n{}", i), 1000}).ok());
    p.memory = std::make_unique<Bytes>(kMemory);
    p.region = p.transport->register_memory(all(*p.memory), Access::read_write).value();
    spans_[i] = p.region.remote();
  }
  void stop_process(std::uint32_t i) {
    auto& p = process(i);
    // The process's memory is gone: under AddressSanitizer, a late byte is a crash.
    p.region.revoke();
    p = Process{};
  }

  void turn() {
    network_.step();
    while (const auto node = network_.next_ready()) drain(node->value);
  }

  void drain(std::uint32_t i) {
    auto& p = process(i);
    if (!p.transport) return;
    std::array<Event, 5> events;
    while (const auto count = p.transport->poll(events))
      for (std::size_t n = 0; n < count; ++n) handle(p, events[n]);
  }

  void handle(Process& p, const Event& event) {
    const auto at = std::find_if(p.endpoints.begin(), p.endpoints.end(),
                                 [&](const Endpoint& each) { return each.id == event.endpoint; });
    switch (event.kind) {
      case Kind::accepted:
      case Kind::connected:
        EXPECT_EQ(at, p.endpoints.end());
        ++tally_.connected;
        p.endpoints.push_back({event.endpoint, {}, {}});
        return;
      case Kind::closed:
        EXPECT_NE(event.status, Errc::ok);
        ++tally_.closed;
        if (at != p.endpoints.end()) p.endpoints.erase(at);
        return;
      case Kind::message: {
        ASSERT_NE(at, p.endpoints.end());
        ++tally_.messages;
        const auto lane = event.frame.header.flags;
        EXPECT_EQ(event.frame.header.request.value, at->received[lane]++) << "lost or reordered";
        EXPECT_TRUE(std::ranges::equal(
            event.frame.payload,
            pattern(event.frame.payload.size(), event.frame.header.request.value)));
        return;
      }
      case Kind::sent:
      case Kind::read_done:
      case Kind::write_done: {
        const auto found = p.pending.find(event.context);
        ASSERT_NE(found, p.pending.end()) << "completed twice, or never posted";
        ++(event.status == Errc::ok ? tally_.completed : tally_.failed);
        p.pending.erase(found);  // freed: whoever still touches it is caught
        return;
      }
    }
  }

  void act() {
    const auto i = static_cast<std::uint32_t>(random_.below(kNodes));
    const auto j = static_cast<std::uint32_t>(random_.below(kNodes));
    auto& p = process(i);
    switch (random_.below(60)) {
      case 0:
        network_.partition(nodes_[i], nodes_[j]);
        return;
      case 1:
        network_.cut(nodes_[i], nodes_[j]);
        return;
      case 2:
      case 3:
        network_.heal(nodes_[i], nodes_[j]);
        return;
      case 4:
        network_.drop_connections(nodes_[i], nodes_[j]);
        return;
      case 5:
        if (random_.chance(0.3)) network_.crash(nodes_[i], random_.chance(0.5));
        if (!network_.alive(nodes_[i])) stop_process(i);
        return;
      case 6:
        network_.stop(nodes_[i]);
        return;
      case 7:
      case 8:
        network_.resume(nodes_[i]);
        return;
      case 9:
        network_.slow(nodes_[i], random_.chance(0.5) ? 10 : 1);
        return;
      case 10: {
        const auto when = network_.now() + Duration(random_.below(100'000'000));
        network_.run_until(std::min(when, network_.next_event_time()));
        return;
      }
      default:
        break;
    }
    if (!p.transport) {
      if (random_.chance(0.3)) start(i);
      return;
    }
    if (network_.stopped(nodes_[i])) return;
    if (p.endpoints.empty() || random_.chance(0.1)) {
      const Address to{fmt::format("n{}", j), 1000};
      EXPECT_TRUE(p.transport->connect(to, network_.now() + 500ms).ok());
      return;
    }
    auto& endpoint = p.endpoints[static_cast<std::size_t>(random_.below(p.endpoints.size()))];
    if (random_.chance(0.02)) {
      p.transport->close(endpoint.id);
      p.endpoints.erase(p.endpoints.begin() + (&endpoint - p.endpoints.data()));
      return;
    }
    post(p, endpoint);
  }

  void post(Process& p, Endpoint& endpoint) {
    const auto size = static_cast<std::size_t>(random_.below(kMemory));
    const auto context = ++context_;
    const auto lane = random_.below(2);
    const auto action = random_.below(3);
    auto memory =
        std::make_unique<Bytes>(action == 0 ? pattern(size, endpoint.sent[lane]) : Bytes(size));
    // Of a random process, dead or alive, or an old name: at worst it is refused.
    auto span = spans_[random_.below(kNodes)].sub(0, size);
    if (random_.chance(0.05)) span.address += kMemory - size + 1;
    Status status;
    if (action == 0) {
      FrameHeader header;
      header.kind = FrameKind::push;
      header.request = RequestId(endpoint.sent[lane]);
      header.flags = static_cast<std::uint16_t>(lane);
      const ConstMemoryView view = all(std::as_const(*memory));
      status = p.transport->send(endpoint.id, header, {}, {&view, 1},
                                 {.lane = static_cast<Lane>(lane), .context = context});
      if (status.ok()) ++endpoint.sent[lane];
    } else if (action == 1) {
      status = p.transport->read(endpoint.id, all(*memory), span, context);
    } else {
      status = p.transport->write(endpoint.id, all(std::as_const(*memory)), span, context);
    }
    if (status.ok())
      p.pending.emplace(context, std::move(memory));
    else
      EXPECT_TRUE(status.code() == Errc::closed || status.code() == Errc::overloaded);
  }

  SimNetwork network_;
  Random random_;
  Tally& tally_;
  std::array<SimNodeId, kNodes> nodes_;
  std::array<RemoteSpan, kNodes> spans_;
  std::array<Process, kNodes> processes_;
  std::uint64_t context_ = 0;
};

TEST(SimStorm, TheContractHoldsUnderRandomFaults) {
  Tally tally;
  const auto first = contract::first_seed();
  for (auto seed = first; seed < first + 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Storm(seed, tally).run();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(tally.messages, 5'000u);
  EXPECT_GT(tally.completed, 20'000u);
  EXPECT_GT(tally.failed, 1'000u);
  EXPECT_GT(tally.connected, 5'000u);
  EXPECT_GT(tally.closed, 5'000u);
}

TEST(SimStorm, TheSameSeedIsTheSameRun) {
  Tally tally;
  std::map<std::uint64_t, std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto hash = Storm(seed, tally).run();
    const Bytes elsewhere(1'000 * seed);  // other addresses, same run
    EXPECT_EQ(hash, Storm(seed, tally).run()) << "seed " << seed;
    hashes[hash] = seed;
  }
  EXPECT_EQ(hashes.size(), 20u) << "different seeds are different runs";
}

}  // namespace
}  // namespace shoal
