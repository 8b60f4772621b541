#pragma once

#include <chrono>
#include <cstdint>

namespace shoal {

using Duration = std::chrono::nanoseconds;

/// The tag of monotonic time, real or simulated. Not a std clock: nothing in Shoal can ask it for
/// `now()`; time is handed in.
struct MonotonicTime {
  using rep = Duration::rep;
  using period = Duration::period;
  using duration = Duration;
};

/// A moment on the process's (or the simulation's) monotonic clock.
using TimePoint = std::chrono::time_point<MonotonicTime, Duration>;

/// 'No deadline'.
inline constexpr TimePoint kNever = TimePoint::max();

/// Where the time comes from. `main` makes a SteadyClock and hands it down; the simulation hands
/// down its own. `now()` never goes back and may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
};

/// CLOCK_MONOTONIC.
class SteadyClock final : public Clock {
 public:
  TimePoint now() const override {
    return TimePoint(std::chrono::steady_clock::now().time_since_epoch());
  }
};

/// `now + timeout`, saturating at kNever.
constexpr TimePoint deadline_after(TimePoint now, Duration timeout) {
  return timeout >= kNever - now ? kNever : now + timeout;
}

}  // namespace shoal
