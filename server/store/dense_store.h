#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "server/store/directory.h"
#include "server/store/round_sums.h"
#include "server/store/segment.h"
#include "server/store/table_rules.h"

namespace shoal {

/// The dense rows of one slot: values, optimizer states, and the sums of the clocks that are open.
/// Segments are numbered from 0 in the slot. Reserves all its memory from the budget when it is
/// made; the pages are touched, and rows get their initial values, at a segment's first use.
/// Belongs to one loop. See docs/design/consistency.md and docs/design/snapshots.md.
class DenseStore {
 public:
  /// Errors: no_memory.
  static Result<std::unique_ptr<DenseStore>> create(const TableRules& table, SlotIndex slot,
                                                    StoreContext context);
  ~DenseStore();
  DenseStore(const DenseStore&) = delete;
  DenseStore& operator=(const DenseStore&) = delete;

  std::size_t segment_count() const { return segments_.size(); }
  RowRange rows() const { return rows_; }
  std::size_t segment_at(Row row) const {
    return static_cast<std::size_t>(table_.geometry().segment_of(row).value - first_segment_);
  }
  RowRange rows_of(std::size_t segment) const {
    return table_.geometry().rows_of(
        SegmentIndex(static_cast<std::uint32_t>(first_segment_ + segment)));
  }

  // on_arrival: the update rule runs at once. `inputs` in the layout of a push, may be unaligned.
  Outcome apply(RowRange rows_of_one_segment, const std::byte* inputs);
  Outcome apply(std::span<const Key> rows, const std::byte* inputs);
  /// `store`: sets the weights, and the states that belong to them.
  Outcome set(RowRange rows_of_one_segment, const std::byte* values);
  Outcome set(std::span<const Key> rows, const std::byte* values);

  // per_clock and collective: the push is added to its clock's sum.
  /// What would keep a contribution from being taken now: applied (nothing), too_early, too_late or
  /// not_its_turn.
  Outcome admits(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                 RowRange rows_of_one_segment) const;
  Outcome admits(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                 std::span<const Key> rows) const;
  /// Adds the pushed rows; `inputs` null: a burnt or empty part, which only counts. A collective
  /// segment that is complete with it is folded at once, or, when no copy is free, by fold_ready().
  Outcome contribute(MemberIndex member, WorkerClock clock, RowRange rows_of_one_segment,
                     const std::byte* inputs);
  Outcome contribute(MemberIndex member, WorkerClock clock, std::span<const Key> rows,
                     const std::byte* inputs);
  /// True once any push has been summed: a `store` comes too late then.
  bool pushed() const { return pushed_; }

  /// per_clock: folds the clocks below `global_clock` into a segment. Errors: no_copy.
  Outcome fold(std::size_t segment, WorkerClock global_clock);
  /// collective: folds what is complete. Errors: no_copy.
  Outcome fold_ready(std::size_t segment);
  /// collective: a worker whose contribution the segment's next version still lacks; 0: nobody's.
  NodeId awaited(std::size_t segment) const;
  bool has_folds_waiting() const { return folds_waiting_ != 0; }
  /// A member has left the roster; afterwards call fold_ready for each segment.
  void forget(MemberIndex member);

  /// Holds exactly the clocks below this (per_clock, collective).
  WorkerClock version(std::size_t segment) const { return segments_[segment].version; }
  /// The segment's values as they are now. The caller owes an `unpin`.
  Snapshot pin(std::size_t segment);
  /// Copies rows of one segment from a device to memory that it reaches.
  void copy_out(RowRange rows_of_one_segment, std::byte* out);
  /// Copies listed rows, in order. Errors: out_of_range, no_room.
  Outcome gather(std::span<const Key> rows, std::byte* out);

  const SegmentDirectory& directory() const { return directory_; }
  /// on_arrival: lets peers READ the directory, by the key that it returns, and from then on the
  /// segments, each once its place is in its entry. 0: they cannot.
  std::uint64_t expose_directory();
  /// After that: goes on until it has exposed a chunk of segments. False: all places are entered.
  bool expose_some();

 private:
  struct Segment {
    SegmentMemory* values = nullptr;
    SegmentMemory* states = nullptr;
    WorkerClock version;
    bool ready = false;         ///< Rows have their initial values.
    bool fold_waiting = false;  ///< A complete round waits for a copy.
  };
  DenseStore(const TableRules& table, SlotIndex slot, StoreContext context);
  Status allocate();

  std::uint64_t row_count(std::size_t segment) const { return rows_of(segment).size(); }
  std::size_t bytes_of(std::size_t segment) const {
    return row_count(segment) * table_.geometry().row_bytes();
  }
  RoundSum& sum_of(std::size_t segment, WorkerClock clock) {
    return sums_[segment * sums_per_segment_ +
                 static_cast<std::size_t>(static_cast<std::uint64_t>(clock.value) %
                                          sums_per_segment_)];
  }
  const RoundSum& sum_of(std::size_t segment, WorkerClock clock) const {
    return const_cast<DenseStore*>(this)->sum_of(segment, clock);
  }
  DenseRows dense_rows(std::size_t segment, RowRange rows_in_segment) const;
  void make_ready(std::size_t segment);
  /// Within a change: enters where the segment lies.
  void enter_place(std::size_t segment);
  /// Moves a pinned segment to a copy. False: none is free.
  bool make_writable(std::size_t segment);
  /// Positions of listed rows. Errors: out_of_range (one is not of this slot), no_room.
  Outcome locate(std::span<const Key> rows, std::span<std::uint32_t>& positions) const;
  /// Rows of the touched segments, for kernels.
  ListedRows listed(std::span<const std::uint32_t> positions);
  template <class F>
  void change_touched(const F& change);
  void collect_touched(std::span<const std::uint32_t> positions);
  bool touched_writable();
  Outcome admits_segment(MemberIndex member, WorkerClock clock, WorkerClock global_clock,
                         std::size_t segment) const;
  Outcome add_sum(WorkerClock clock, RowRange rows, const std::byte* inputs);
  Outcome add_sum(WorkerClock clock, std::span<const Key> rows, const std::byte* inputs);
  Outcome need_sum(RoundSum& sum, std::size_t segment);
  void clear_sum(const RoundSum& sum, std::size_t segment);
  /// Listed rows of a clock's sums, for kernels.
  struct ListedSums {
    std::byte* const* pages;
    std::span<const std::uint32_t> positions;
  };
  ListedSums listed_sums(WorkerClock clock, std::span<const std::uint32_t> positions);
  bool round_complete(std::size_t segment, WorkerClock clock) const;
  void fold_round(std::size_t segment, WorkerClock clock);
  void end_round(std::size_t segment, WorkerClock clock);

  const TableRules& table_;
  StoreContext context_;
  SlotIndex slot_;
  std::uint64_t first_segment_;
  RowRange rows_;
  RowShape shape_;
  StateLayout states_;
  unsigned page_shift_;
  std::size_t sums_per_segment_ = 0;
  std::vector<Segment> segments_;
  std::vector<SegmentArrays> pages_;  ///< of the segments, where listed rows are looked up
  std::vector<std::uint32_t> steps_;  ///< of the segments, of a rule that counts
  std::vector<RoundSum> sums_;        ///< segment-major, `window` each
  std::vector<std::byte*> sum_pages_;
  std::vector<std::uint32_t> touched_stamp_;
  std::vector<std::uint32_t> page_numbers_;  ///< on a device: of touched segments, in its lists
  std::uint32_t stamp_ = 0;
  std::uint32_t folds_waiting_ = 0;
  std::uint64_t reserved_bytes_ = 0;
  SegmentDirectory directory_;
  std::size_t entered_ = 0;  ///< exposed: segments below have their places entered
  bool pushed_ = false;
};

}  // namespace shoal
