#pragma once

#include <algorithm>
#include <cstddef>

#include "core/base/clock.h"

namespace shoal::mlp {

/// How much of the communication went on while the training thread did something else. The thread
/// says when an operation begins, when it first sees that it has ended, and how long it was blocked
/// in waiting for one. Owner: one thread.
class Overlap {
 public:
  void begin(TimePoint now) {
    if (under_way_++ == 0) since_ = now;
  }
  void end(TimePoint now) {
    if (--under_way_ == 0) communication_ += now - since_;
  }
  void blocked(Duration duration) { blocked_ += duration; }

  /// The union of the intervals in which some operation was under way.
  Duration communication() const { return communication_; }
  Duration blocked() const { return blocked_; }
  /// The share of communication() that blocked nobody; 0 if there was none.
  double hidden() const {
    if (communication_ <= Duration::zero()) return 0;
    return std::max(0.0, 1 - std::chrono::duration<double>(blocked_) /
                                 std::chrono::duration<double>(communication_));
  }

 private:
  std::size_t under_way_ = 0;
  TimePoint since_{};
  Duration communication_{};
  Duration blocked_{};
};

}  // namespace shoal::mlp
