#pragma once

#include <algorithm>
#include <map>
#include <optional>

#include "core/base/ids.h"

namespace shoal {

/// The scheduler's: the reported clock of each worker of the roster, and G, the least of them, which
/// never goes back; an empty roster leaves it as it is.
class ClockTable {
 public:
  explicit ClockTable(WorkerClock global_clock = WorkerClock(0)) : global_clock_(global_clock) {}

  /// A worker of the roster, at its first clock.
  void add(NodeId worker, WorkerClock start) { reported_.insert_or_assign(worker, start); }
  void remove(NodeId worker) { reported_.erase(worker); }
  /// Newest wins; a clock below an earlier report is an old message.
  void report(NodeId worker, WorkerClock clock) {
    if (const auto at = reported_.find(worker); at != reported_.end())
      at->second = std::max(at->second, clock);
  }
  /// True if G rose.
  bool advance() {
    if (reported_.empty()) return false;
    const auto least = least_reported()->second;
    if (least <= global_clock_) return false;
    global_clock_ = least;
    return true;
  }

  WorkerClock global_clock() const { return global_clock_; }
  /// A worker that holds G back; 0 if the roster is empty.
  NodeId holder() const { return reported_.empty() ? NodeId{} : least_reported()->first; }
  std::optional<WorkerClock> reported(NodeId worker) const {
    const auto at = reported_.find(worker);
    return at == reported_.end() ? std::nullopt : std::optional(at->second);
  }

 private:
  std::map<NodeId, WorkerClock>::const_iterator least_reported() const {
    return std::min_element(reported_.begin(), reported_.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; });
  }
  std::map<NodeId, WorkerClock> reported_;
  WorkerClock global_clock_;
};

}  // namespace shoal
