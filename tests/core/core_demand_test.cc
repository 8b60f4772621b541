#include "core/base/core_demand.h"

#include <gtest/gtest.h>

namespace shoal::test {
namespace {

long switches = 0;

class CoreDemandTest : public testing::Test {
 protected:
  CoreDemandTest() { switches = 1000; }  // of the thread's life before
  /// `count` more of them, and as many periods later.
  bool after(long count, int periods = 1) {
    switches += count;
    now_ += periods * CoreDemand::kPeriod;
    return demand_.is_high(now_);
  }
  static constexpr long kMany = CoreDemand::kSwitchesPerPeriod;
  TimePoint now_{std::chrono::hours(1)};
  CoreDemand demand_{[] { return switches; }};
};

TEST_F(CoreDemandTest, WhatWasBeforeTheFirstLookDoesNotCount) { EXPECT_FALSE(after(0)); }

TEST_F(CoreDemandTest, IsHighWhileTheCoreIsTakenOften) {
  after(0);
  EXPECT_FALSE(after(kMany - 1));
  EXPECT_TRUE(after(kMany));
  EXPECT_TRUE(after(kMany));
  EXPECT_FALSE(after(kMany - 1));
}

TEST_F(CoreDemandTest, IsARateWhateverTheThreadSlept) {
  after(0);
  EXPECT_FALSE(after(5 * kMany, 10));
  EXPECT_TRUE(after(10 * kMany, 10));
}

TEST_F(CoreDemandTest, LooksOnceAPeriod) {
  after(0);
  switches += 100 * kMany;
  EXPECT_FALSE(demand_.is_high(now_ + CoreDemand::kPeriod - Duration(1)));
  EXPECT_TRUE(demand_.is_high(now_ + CoreDemand::kPeriod));
}

}  // namespace
}  // namespace shoal::test
