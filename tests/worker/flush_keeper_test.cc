#include "worker/engine/flush_keeper.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "core/base/random.h"
#include "worker/engine/clock_keeper.h"

namespace shoal {
namespace {

/// A push may be open several times over: for itself, and for each of its requests.
TEST(FlushKeeper, SettlesWhenAllThatWasIssuedBeforeHasEnded) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    ClockKeeper clocks;
    clocks.start(WorkerClock(0));
    FlushKeeper flushes(64);
    struct Push {
      WorkerClock clock;
      int holds = 1;
    };
    std::map<std::uint64_t, Push> open;                     // by place
    std::map<std::uint32_t, std::set<std::uint64_t>> left;  // by flush: places that it waits for
    std::uint32_t next_flush = 0;
    for (int step = 0; step < 2000; ++step) {
      const auto what = random.below(10);
      if (what == 0) {
        clocks.tick();
      } else if (what == 1 && left.size() < 64) {
        flushes.open(next_flush, clocks.local(), clocks.unended_at(clocks.local()));
        for (const auto& [place, push] : open) left[next_flush].insert(place);
        left.try_emplace(next_flush++);
      } else if (what <= 5) {
        const auto place = flushes.next_place();
        open[place] = {clocks.local()};
        clocks.begin_push(clocks.local());
        flushes.begin_push(clocks.local(), place);
      } else if (!open.empty()) {
        const auto nth = static_cast<std::ptrdiff_t>(random.below(open.size()));
        auto& [place, push] = *std::next(open.begin(), nth);
        if (what == 6) {
          ++push.holds;
          clocks.begin_push(push.clock);
          flushes.begin_push(push.clock, place);
          continue;
        }
        clocks.end_push(push.clock);
        flushes.end_push(push.clock, place);
        if (--push.holds > 0) continue;
        for (auto& [flush, places] : left) places.erase(place);
        open.erase(std::next(open.begin(), nth));
      }
      std::set<std::uint32_t> settled, expected;
      while (const auto flush = flushes.settled(clocks.reported())) {
        settled.insert(*flush);
        flushes.close(*flush);
      }
      for (const auto& [flush, places] : left)
        if (places.empty()) expected.insert(flush);
      for (const auto flush : expected) left.erase(flush);
      ASSERT_EQ(settled, expected) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace shoal
