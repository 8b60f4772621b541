#pragma once

#include <cstddef>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/base/assert.h"
#include "core/base/ids.h"

namespace shoal {

/// The scheduler's: the reported clock of each worker of the roster, and G, the least of them,
/// which never goes back; an empty roster leaves it as it is. A report costs O(1), amortised over
/// the workers that must all report before G rises. Allocates when a worker is added, not in
/// reports. See docs/design/protocol.md, "Clocks and staleness".
class ClockTable {
 public:
  explicit ClockTable(WorkerClock global_clock = WorkerClock(0)) : global_clock_(global_clock) {}

  /// A worker of the roster, at its first clock, which is not below G.
  void add(NodeId worker, WorkerClock start) {
    SHOAL_ASSERT(start >= global_clock_, "a worker that starts below a folded clock");
    SHOAL_ASSERT(!contains(worker), "a worker twice in the clock table");
    index_.emplace(worker, entries_.size());
    entries_.push_back({worker, start});
    if (entries_.size() == 1 || start < least_) {
      least_ = start;
      at_least_ = 1;
      holder_ = entries_.size() - 1;
    } else if (start == least_) {
      ++at_least_;
    }
  }
  void remove(NodeId worker) {
    const auto found = index_.find(worker);
    if (found == index_.end()) return;
    const auto at = found->second;
    index_.erase(found);
    if (at + 1 != entries_.size()) {
      entries_[at] = entries_.back();
      index_[entries_[at].worker] = at;
    }
    entries_.pop_back();
    find_least();
  }
  /// Newest wins; a clock below an earlier report is an old message. Ignores strangers.
  void report(NodeId worker, WorkerClock clock) {
    const auto found = index_.find(worker);
    if (found == index_.end()) return;
    auto& entry = entries_[found->second];
    if (clock <= entry.reported) return;
    const bool was_least = entry.reported == least_;
    entry.reported = clock;
    if (was_least && --at_least_ == 0) find_least();
    while (entries_[holder_].reported != least_) holder_ = (holder_ + 1) % entries_.size();
  }
  /// Takes the least reported clock as G. True if G rose.
  bool advance() {
    if (entries_.empty() || least_ <= global_clock_) return false;
    global_clock_ = least_;
    return true;
  }

  WorkerClock global_clock() const { return global_clock_; }
  std::size_t size() const { return entries_.size(); }
  bool contains(NodeId worker) const { return index_.contains(worker); }
  std::optional<WorkerClock> reported(NodeId worker) const {
    const auto found = index_.find(worker);
    if (found == index_.end()) return std::nullopt;
    return entries_[found->second].reported;
  }
  /// A worker that holds G back, for messages to people; 0 if the roster is empty.
  NodeId holder() const { return entries_.empty() ? NodeId{} : entries_[holder_].worker; }
  /// How many hold it back.
  std::size_t holders() const { return entries_.empty() ? 0 : at_least_; }

 private:
  struct Entry {
    NodeId worker;
    WorkerClock reported;
  };
  void find_least() {
    at_least_ = holder_ = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const auto reported = entries_[i].reported;
      if (at_least_ == 0 || reported < least_) {
        least_ = reported;
        at_least_ = 0;
        holder_ = i;
      }
      if (reported == least_) ++at_least_;
    }
  }

  std::vector<Entry> entries_;
  std::unordered_map<NodeId, std::size_t> index_;
  WorkerClock global_clock_;
  WorkerClock least_;         ///< of entries_; nothing while there are none
  std::size_t at_least_ = 0;  ///< how many workers stand there
  std::size_t holder_ = 0;    ///< one of them; it only moves on until `least_` rises
};

}  // namespace shoal
