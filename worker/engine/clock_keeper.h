#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/base/assert.h"
#include "core/base/ids.h"

namespace shoal {

/// Which clock a worker may report: the highest r such that every push issued at a clock below r
/// has ended. Counts unended pushes by clock, however far apart these are. See
/// docs/design/protocol.md, "Clocks and staleness".
class ClockKeeper {
 public:
  void start(WorkerClock clock) {
    local_ = clock;
    open_.clear();
  }
  WorkerClock local() const { return local_; }
  WorkerClock reported() const { return open_.empty() ? local_ : open_.front().clock; }

  void begin_push(WorkerClock clock) {
    SHOAL_ASSERT(clock >= reported() && clock <= local_, "a push outside the open clocks");
    const auto at = find(clock);
    if (at != open_.end() && at->clock == clock)
      ++at->pushes;
    else
      open_.insert(at, {clock, 1});
  }
  void end_push(WorkerClock clock) {
    const auto at = find(clock);
    SHOAL_ASSERT(at != open_.end() && at->clock == clock, "more pushes ended than were issued");
    if (--at->pushes == 0) open_.erase(at);
  }
  void tick() { ++local_; }
  /// Unended pushes of the clock, and of all clocks below it.
  std::uint64_t unended_at(WorkerClock clock) const {
    for (const auto& open : open_)
      if (open.clock == clock) return open.pushes;
    return 0;
  }
  std::uint64_t unended_below(WorkerClock clock) const {
    std::uint64_t sum = 0;
    for (const auto& open : open_)
      if (open.clock < clock) sum += open.pushes;
    return sum;
  }

 private:
  struct Open {
    WorkerClock clock;
    std::uint64_t pushes = 0;
  };
  /// Where the clock stands, or would.
  std::vector<Open>::iterator find(WorkerClock clock) {
    return std::lower_bound(open_.begin(), open_.end(), clock,
                            [](const Open& open, WorkerClock c) { return open.clock < c; });
  }
  WorkerClock local_;
  std::vector<Open> open_;  ///< clocks with unended pushes, ascending
};

}  // namespace shoal
