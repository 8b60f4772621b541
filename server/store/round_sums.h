#pragma once

#include <cstdint>
#include <vector>

#include "core/base/ids.h"
#include "core/table/geometry.h"
#include "server/store/members.h"
#include "server/store/memory.h"

namespace shoal {

/// Which rows of a segment a round has touched: all of them, which costs nothing to say, or a bit
/// each.
class RowSet {
 public:
  bool empty() const { return count_ == 0; }
  void clear() {
    if (!all_ && count_ != 0) bits_.assign(bits_.size(), 0);
    all_ = false;
    count_ = 0;
  }
  void add_all() {
    all_ = true;
    count_ = 1;
  }
  void add(std::uint64_t rows, RowRange range);
  void add(std::uint64_t rows, std::uint64_t row);
  /// Calls f(RowRange, bool touched) for the runs of rows 0 .. rows-1, in order.
  template <class F>
  void for_each_run(std::uint64_t rows, F&& f) const {
    if (all_ || count_ == 0 || count_ == rows) return f(RowRange{0, rows}, count_ != 0);
    for (std::uint64_t at = 0; at < rows;) {
      const auto begin = at;
      const bool touched = has(at);
      while (at < rows && has(at) == touched) ++at;
      f(RowRange{begin, at}, touched);
    }
  }

 private:
  bool has(std::uint64_t row) const { return (bits_[row / 64] >> (row % 64) & 1) != 0; }
  void reserve(std::uint64_t rows) {
    if (bits_.size() < (rows + 63) / 64) bits_.assign((rows + 63) / 64, 0);
  }
  std::vector<std::uint64_t> bits_;
  std::uint64_t count_ = 0;
  bool all_ = false;
};

/// Who has contributed how many rows of one segment to one round of a collective table. A
/// contribution is complete when its rows add up to at least the segment's; burnt and empty parts
/// count.
class Contributions {
 public:
  void clear();
  /// Counts `rows` rows of a member. True: the member's contribution is complete now and was not.
  bool add(MemberIndex member, std::uint64_t rows, std::uint64_t rows_of_segment);
  bool complete(MemberIndex member) const {
    return member / 64 < done_.size() && (done_[member / 64] >> (member % 64) & 1) != 0;
  }
  /// A member has left the roster: what it contributed stays summed, but it counts no more.
  void forget(MemberIndex member);
  std::size_t complete_count() const { return complete_count_; }
  /// Whether it is this member's turn: no live member of lower rank that takes part in `clock` is
  /// still incomplete.
  bool is_turn_of(MemberIndex member, const Members& members, WorkerClock clock) const;

 private:
  struct Partial {
    MemberIndex member;
    std::uint64_t rows;
  };
  std::vector<std::uint64_t> done_;  ///< a bit a member
  std::vector<Partial> partial_;
  std::size_t complete_count_ = 0;
};

/// The sum of one segment's pushes of one clock.
struct RoundSum {
  SegmentMemory* memory = nullptr;  ///< null: nothing was pushed
  RowSet rows;
  Contributions contributions;
};

}  // namespace shoal
