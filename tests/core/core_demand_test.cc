#include "core/base/core_demand.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace shoal::test {
namespace {

Duration waited{};

class CoreDemandTest : public testing::Test {
 protected:
  CoreDemandTest() { waited = std::chrono::seconds(1); }  // of the thread's life before
  /// So much more, and as many periods later.
  bool after(Duration more, int periods = 1) {
    waited += more;
    now_ += periods * CoreDemand::kPeriod;
    return demand_.is_high(now_);
  }
  static constexpr auto kMuch = CoreDemand::kWaitedPerPeriod;
  static constexpr auto kLess = kMuch - Duration(1);
  TimePoint now_{std::chrono::hours(1)};
  CoreDemand demand_{[] { return waited; }};
};

TEST_F(CoreDemandTest, WhatWasBeforeTheFirstLookDoesNotCount) {
  EXPECT_FALSE(after(Duration::zero()));
}

TEST_F(CoreDemandTest, IsHighWhileTheThreadWaitsLong) {
  after(Duration::zero());
  EXPECT_FALSE(after(kLess));
  EXPECT_TRUE(after(kMuch));
  EXPECT_TRUE(after(kMuch));
  EXPECT_FALSE(after(kLess));
}

TEST_F(CoreDemandTest, IsAShareOfTheTimeWhateverTheThreadSlept) {
  after(Duration::zero());
  EXPECT_FALSE(after(5 * kMuch, 10));
  EXPECT_TRUE(after(10 * kMuch, 10));
}

TEST_F(CoreDemandTest, LooksOnceAPeriod) {
  after(Duration::zero());
  waited += 100 * kMuch;
  EXPECT_FALSE(demand_.is_high(now_ + CoreDemand::kPeriod - Duration(1)));
  EXPECT_TRUE(demand_.is_high(now_ + CoreDemand::kPeriod));
}

/// Two threads on one core, one of which does nothing but wait for the other to have waited.
TEST(WaitedForCore, GrowsWhereTwoThreadsWantOneCore) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int core = 0;
  while (!CPU_ISSET(core, &allowed)) ++core;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  std::atomic<bool> over = false;
  std::atomic<int> refused = 0;
  Duration longest{};
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::thread waiting([&] {
    refused += ::sched_setaffinity(0, sizeof one, &one) != 0;
    while (longest < CoreDemand::kWaitedPerPeriod && std::chrono::steady_clock::now() < until)
      longest = waited_for_core();
    over = true;
  });
  std::thread other([&] {
    refused += ::sched_setaffinity(0, sizeof one, &one) != 0;
    while (!over) continue;
  });
  waiting.join();
  other.join();
  if (refused != 0) GTEST_SKIP() << "threads may not choose their core here";
  EXPECT_GE(longest, CoreDemand::kWaitedPerPeriod);
}

}  // namespace
}  // namespace shoal::test
