#pragma once

#include "core/base/clock.h"

namespace shoal {

/// Whether others want the core that a thread runs on: the kernel counts how long the thread could
/// have run, and did not. Where whoever else is there only passes by, that is below 1 % of the
/// time; with more busy threads than cores a third and more. Belongs to one thread.
class CoreDemand {
 public:
  static constexpr Duration kPeriod = std::chrono::milliseconds(100);
  static constexpr Duration kWaitedPerPeriod = std::chrono::milliseconds(5);

  /// How long the calling thread has waited for a core in its life.
  using Waited = Duration (*)();
  explicit CoreDemand(Waited waited) : waited_(waited) {}

  /// As of the last look; looks once a period. `now` never goes back.
  bool is_high(TimePoint now) {
    if (now >= look_at_) look(now);
    return high_;
  }

 private:
  void look(TimePoint now);

  Waited waited_;
  TimePoint looked_at_{}, look_at_{};
  Duration seen_{};
  bool high_ = false;
};

/// How long the calling thread has waited for a core: /proc/thread-self/schedstat (Linux,
/// Documentation/scheduler/sched-stats.rst). Where the kernel does not count that, half a
/// millisecond for each time that it took the core from the thread (getrusage(2)).
Duration waited_for_core();

/// Of the calling thread: while this is true it does not spin, as it would take the core from whom
/// it waits for.
bool core_is_wanted(TimePoint now);

}  // namespace shoal
