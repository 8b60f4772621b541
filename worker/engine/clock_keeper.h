#pragma once

#include <cstdint>
#include <vector>

#include "core/base/assert.h"
#include "core/base/ids.h"

namespace shoal {

/// Which clock a worker may report: the highest r such that every push issued at a clock below r
/// has ended. Counts unended pushes by clock. See docs/design/protocol.md, "Clocks and staleness".
class ClockKeeper {
 public:
  void start(WorkerClock clock) {
    local_ = reported_ = clock;
    open_.assign(16, 0);
  }
  WorkerClock local() const { return local_; }
  WorkerClock reported() const { return reported_; }

  void begin_push(WorkerClock clock) {
    SHOAL_ASSERT(clock >= reported_ && clock <= local_, "a push outside the open clocks");
    ++at(clock);
  }
  void end_push(WorkerClock clock) {
    SHOAL_ASSERT(at(clock) > 0, "more pushes ended than were issued");
    --at(clock);
    advance();
  }
  void tick() {
    ++local_;
    if (static_cast<std::size_t>(local_ - reported_) >= open_.size()) grow();
    at(local_) = 0;
    advance();
  }
  /// Unended pushes of all clocks.
  std::uint64_t unended() const {
    std::uint64_t sum = 0;
    for (auto c = reported_; c <= local_; ++c) sum += open_[slot(c)];
    return sum;
  }

 private:
  std::size_t slot(WorkerClock clock) const {
    return static_cast<std::size_t>(clock.value) & (open_.size() - 1);
  }
  std::uint32_t& at(WorkerClock clock) { return open_[slot(clock)]; }
  void advance() {
    while (reported_ < local_ && at(reported_) == 0) ++reported_;
  }
  void grow() {
    std::vector<std::uint32_t> wider(open_.size() * 2, 0);
    for (auto c = reported_; c < local_; ++c)
      wider[static_cast<std::size_t>(c.value) & (wider.size() - 1)] = open_[slot(c)];
    open_.swap(wider);
  }
  WorkerClock local_, reported_;
  std::vector<std::uint32_t> open_;  ///< a ring, by the low bits of the clock
};

}  // namespace shoal
