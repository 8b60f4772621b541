#include "worker/engine/clock_keeper.h"

#include <gtest/gtest.h>

#include <map>

#include "core/base/random.h"

namespace shoal {
namespace {

TEST(ClockKeeper, ReportsTheLocalClockWhenNothingIsOpen) {
  ClockKeeper keeper;
  keeper.start(WorkerClock(7));
  EXPECT_EQ(keeper.reported(), WorkerClock(7));
  keeper.tick();
  EXPECT_EQ(keeper.local(), WorkerClock(8));
  EXPECT_EQ(keeper.reported(), WorkerClock(8));
}

TEST(ClockKeeper, HoldsBackForTheOldestOpenPush) {
  ClockKeeper keeper;
  keeper.start(WorkerClock(0));
  keeper.begin_push(WorkerClock(0));
  keeper.tick();
  keeper.begin_push(WorkerClock(1));
  keeper.tick();
  EXPECT_EQ(keeper.reported(), WorkerClock(0));
  keeper.end_push(WorkerClock(1));
  EXPECT_EQ(keeper.reported(), WorkerClock(0));
  keeper.end_push(WorkerClock(0));
  EXPECT_EQ(keeper.reported(), WorkerClock(2));
  EXPECT_EQ(keeper.unended_below(WorkerClock(3)), 0u);
}

TEST(ClockKeeper, AgreesWithAMapOverManySteps) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    ClockKeeper keeper;
    keeper.start(WorkerClock(static_cast<std::int64_t>(random.below(100))));
    std::map<std::int64_t, int> open;
    for (int step = 0; step < 2000; ++step) {
      const auto what = random.below(3);
      if (what == 0) {
        keeper.tick();
      } else if (what == 1) {
        keeper.begin_push(keeper.local());
        ++open[keeper.local().value];
      } else if (!open.empty()) {
        auto at = std::next(open.begin(), static_cast<std::ptrdiff_t>(random.below(open.size())));
        keeper.end_push(WorkerClock(at->first));
        if (--at->second == 0) open.erase(at);
      }
      const auto expected = open.empty() ? keeper.local().value : open.begin()->first;
      ASSERT_EQ(keeper.reported().value, expected) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace shoal
