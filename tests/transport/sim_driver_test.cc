#include <gtest/gtest.h>

#include <array>
#include <string>

#include "transport/sim/driver.h"
#include "transport/sim/sim.h"

// Simulated time, and the turns that the driver gives to those who live in it.

namespace shoal {
namespace {

using namespace std::chrono_literals;

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

}  // namespace
}  // namespace shoal
