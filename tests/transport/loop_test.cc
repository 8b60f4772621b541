#include "transport/loop.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>

#include <functional>

#include "core/base/bounded_queue.h"
#include "tests/transport/fake_transport.h"

namespace shoal {
namespace {

bool readable(int fd) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, 0) == 1;
}

class Counter final : public Pollable {
 public:
  bool poll(TimePoint now) override {
    const bool busy = on_poll ? on_poll(now) : false;
    polls.fetch_add(1);
    polls.notify_all();
    return busy;
  }
  TimePoint next_timer() const override { return timer; }
  Transport& transport() override { return fake; }
  void wait_for_polls(std::uint64_t count) {
    for (auto seen = polls.load(); seen < count; seen = polls.load()) polls.wait(seen);
  }

  test::FakeTransport fake;
  std::function<bool(TimePoint)> on_poll;
  TimePoint timer = kNever;
  std::atomic<std::uint64_t> polls{0};
};

TEST(Waker, RemembersAWakeThatComesBeforeTheSleep) {
  auto waker = Waker::create().value();
  waker.wake();
  EXPECT_FALSE(waker.arm());
  EXPECT_FALSE(waker.arm());
  EXPECT_FALSE(readable(waker.fd()));  // nobody slept: no system call was made
  waker.clear();
  EXPECT_TRUE(waker.arm());
  EXPECT_FALSE(readable(waker.fd()));
  waker.wake();
  waker.wake();
  EXPECT_TRUE(readable(waker.fd()));
  waker.clear();
  EXPECT_FALSE(readable(waker.fd()));
  EXPECT_TRUE(waker.arm());
}

TEST(WaitForWork, ReturnsForEveryReasonThereIs) {
  Counter object;
  const SteadyClock clock;
  auto waker = Waker::create().value();
  // Each of these would block for ever if its reason were overlooked.
  wait_for_work(object, &waker, clock.now(), clock.now());
  wait_for_work(object, nullptr, clock.now(), clock.now() + std::chrono::milliseconds(1));
  object.timer = clock.now() + std::chrono::milliseconds(1);
  wait_for_work(object, &waker, clock.now(), kNever);
  EXPECT_GE(clock.now(), object.timer);
  object.timer = kNever;
  object.fake.armable = false;
  wait_for_work(object, &waker, clock.now(), kNever);
  object.fake.armable = true;
  waker.wake();
  wait_for_work(object, &waker, clock.now(), kNever);
  EXPECT_TRUE(waker.arm());  // it was cleared
}

/// Hands one value after the other to a loop that sleeps without a limit in between: a wake that
/// got lost would leave both sides waiting for ever.
TEST(WaitForWork, LosesNoWake) {
  constexpr std::uint64_t kValues = 20000;
  Counter object;
  BoundedQueue<std::uint64_t> queue(2);
  std::atomic<std::uint64_t> taken{0};
  object.on_poll = [&](TimePoint) {
    std::uint64_t value = 0;
    if (!queue.pop(value)) return false;
    EXPECT_EQ(value, taken.load() + 1);
    taken.store(value);
    taken.notify_all();
    return true;
  };
  auto waker = Waker::create().value();
  std::thread loop([&] {
    const SteadyClock clock;
    while (taken.load() < kValues)
      if (!object.poll(clock.now())) wait_for_work(object, &waker, clock.now(), kNever);
  });
  for (std::uint64_t value = 1; value <= kValues; ++value) {
    ASSERT_TRUE(queue.push(value));
    waker.wake();
    if (value % 3 == 0) continue;  // sometimes two at once
    for (auto seen = taken.load(); seen < value; seen = taken.load()) taken.wait(seen);
  }
  loop.join();
  EXPECT_EQ(taken.load(), kValues);
}

TEST(LoopThread, RunsUntilStoppedOnAThreadThatHasItsName) {
  Counter object;
  std::string name;
  std::thread::id runner;
  object.on_poll = [&](TimePoint) {
    char buffer[16] = {};
    ::pthread_getname_np(::pthread_self(), buffer, sizeof buffer);
    name = buffer;
    runner = std::this_thread::get_id();
    return false;
  };
  const SteadyClock clock;
  auto loop =
      LoopThread::start("shoal-server-with-a-long-name", object, clock, Duration::zero()).value();
  object.wait_for_polls(1);
  loop->stop();
  loop->stop();
  EXPECT_EQ(name, "shoal-server-wi");
  EXPECT_NE(runner, std::this_thread::get_id());
  EXPECT_EQ(loop->turns().load(), object.polls.load());
  const auto polls = object.polls.load();
  loop->wake();  // harmless
  loop.reset();
  EXPECT_EQ(object.polls.load(), polls);
}

TEST(LoopThread, AnIdleLoopStillTurns) {
  Counter object;  // never busy, no timer, nobody wakes it
  const SteadyClock clock;
  auto loop = LoopThread::start("idle", object, clock, Duration::zero()).value();
  object.wait_for_polls(4);
}

TEST(LoopThread, SpinsBeforeItSleeps) {
  Counter object;
  object.fake.armable = true;
  const SteadyClock clock;
  // With an hour to spin, so many turns in a row are only possible without sleeps of kIdleTurn: the
  // test would run for most of a day.
  auto loop = LoopThread::start("spin", object, clock, std::chrono::hours(1)).value();
  object.wait_for_polls(100000);
}

TEST(LoopThread, WakesFromAnyThread) {
  Counter object;
  std::atomic<int> work{0};
  std::atomic<int> done{0};
  object.on_poll = [&](TimePoint) {
    const auto n = work.exchange(0);
    if (n == 0) return false;
    done.fetch_add(n);
    done.notify_all();
    return true;
  };
  const SteadyClock clock;
  auto loop = LoopThread::start("wakes", object, clock, std::chrono::microseconds(1)).value();
  std::vector<std::thread> others;
  for (int t = 0; t < 3; ++t)
    others.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        work.fetch_add(1);
        loop->wake();
      }
    });
  for (auto& other : others) other.join();
  for (auto seen = done.load(); seen < 3000; seen = done.load()) done.wait(seen);
  EXPECT_EQ(done.load(), 3000);
}

}  // namespace
}  // namespace shoal
