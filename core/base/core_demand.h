#pragma once

#include "core/base/clock.h"

namespace shoal {

/// Whether others want the core that a thread runs on: the kernel counts how often it took the core
/// from the thread (involuntary context switches, getrusage(2)). On a machine with idle cores that
/// is a few times a second, with more busy threads than cores hundreds. Belongs to one thread.
class CoreDemand {
 public:
  static constexpr Duration kPeriod = std::chrono::milliseconds(100);
  static constexpr long kSwitchesPerPeriod = 10;

  using Count = long (*)();
  explicit CoreDemand(Count count) : count_(count) {}

  /// As of the last look; looks once a period. `now` never goes back.
  bool is_high(TimePoint now) {
    if (now >= look_at_) look(now);
    return high_;
  }

 private:
  void look(TimePoint now);

  Count count_;
  TimePoint looked_at_{}, look_at_{};
  long seen_ = 0;
  bool high_ = false;
};

/// Of the calling thread: while this is true it does not spin, as it would take the core from whom
/// it waits for.
bool core_is_wanted(TimePoint now);

}  // namespace shoal
