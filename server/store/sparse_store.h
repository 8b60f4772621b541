#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "server/store/kernel_array.h"
#include "server/store/segment.h"
#include "server/store/sparse_index.h"
#include "server/store/table_rules.h"

namespace shoal {

/// The sparse rows of one slot. A row gets the next position when it is first pushed and keeps it;
/// rows stand in pages, values and states apart, so that the update rule runs on vectors. Pages are
/// smaller than a dense segment: a new table has 16 slots a server, of which most hold little.
/// On a device the index stays with the CPU, which so knows where each row is when it hands work
/// over. Belongs to one loop. See docs/design/consistency.md and docs/design/cuda.md.
class SparseStore {
 public:
  static constexpr std::size_t kPageBytes = 64u << 10;

  /// Errors: no_memory (the open clocks do not fit the budget).
  static Result<std::unique_ptr<SparseStore>> create(const TableRules& table, SlotIndex slot,
                                                     StoreContext context);
  ~SparseStore();
  SparseStore(const SparseStore&) = delete;
  SparseStore& operator=(const SparseStore&) = delete;

  std::uint64_t row_count() const { return row_count_; }
  std::uint64_t memory_bytes() const { return memory_bytes_ + host_bytes_ + index_.memory_bytes(); }

  /// The positions of rows, which they keep as long as the store lives: they may be handed in
  /// instead of the keys below. False: some have no
  /// row here (kAbsentRow).
  bool find(std::span<const Key> keys, std::span<std::uint32_t> positions) const;
  /// Whether no row is named twice, where that makes a difference to the update rule.
  bool are_distinct(std::span<const std::uint32_t> positions) const;

  // on_arrival: the update rule runs at once. `inputs` in the layout of a push, may be unaligned.
  // Errors of all: out_of_range, no_memory, no_room.
  Outcome apply(std::span<const Key> keys, const std::byte* inputs);
  /// `distinct`: are_distinct(positions) said so, and they need not be looked through again.
  Outcome apply(std::span<const std::uint32_t> positions, bool distinct, const std::byte* inputs);
  /// `store`: sets the weights, and the states that belong to them.
  Outcome set(std::span<const Key> keys, const std::byte* values);
  Outcome set(std::span<const std::uint32_t> positions, const std::byte* values);

  // per_clock.
  /// Adds to a clock's sum. The caller has folded all clocks below clock - window + 1.
  Outcome contribute(WorkerClock clock, std::span<const Key> keys, const std::byte* inputs);
  Outcome contribute(WorkerClock clock, std::span<const std::uint32_t> positions,
                     const std::byte* inputs);
  /// True once any push has been summed: a `store` comes too late then.
  bool pushed() const { return pushed_; }
  /// Folds the clocks below `global_clock`.
  void fold(WorkerClock global_clock);
  /// Holds exactly the clocks below this.
  WorkerClock version() const { return version_; }

  /// Copies the rows of these keys, in order; from a device, to memory that it reaches. Absent ones
  /// read as their initial values and are not created. Errors: out_of_range, no_room.
  Outcome gather(std::span<const Key> keys, std::byte* out);
  Outcome gather(std::span<const std::uint32_t> positions, std::byte* out);

 private:
  SparseStore(const TableRules& table, SlotIndex slot, StoreContext context);
  Status take(std::uint64_t bytes, const char* what);
  void give(std::uint64_t bytes);
  Status take_of_host(std::uint64_t bytes, const char* what);
  /// The sums of one clock: rows in the order of their first push, in pages of their own, found by
  /// the row's position in the store. The pages are kept for the next clocks. Behind a page's sums
  /// stand the positions of its rows.
  struct RoundSums {
    std::vector<SegmentMemory*> pages;
    KernelArray<std::byte*> page_data;
    std::vector<SegmentMemory*> positions;  ///< by page, on a device: what the CPU knows of them
    std::vector<SegmentMemory*> maps;       ///< by page of the store: row -> row of the sums
    std::uint32_t count = 0;
  };

  std::uint32_t page_rows() const { return 1u << page_shift_; }
  /// Positions where kernels read them. Errors: no_room.
  Outcome hand_over(std::span<const std::uint32_t>& positions);
  Outcome apply_placed(std::span<const std::uint32_t> positions, bool distinct,
                       const std::byte* inputs);
  Outcome set_placed(std::span<const std::uint32_t> positions, const std::byte* values);
  void gather_placed(std::span<const std::uint32_t> positions, std::byte* out);
  /// The end of an operation: a device reads its lists until it has done what was issued.
  Outcome end(Outcome outcome) const {
    context_.scratch.end_of_part();
    return outcome;
  }
  ListedRows listed(std::span<const std::uint32_t> positions) const {
    return {pages_.data(), shape_, positions};
  }
  Outcome add_to_sums(WorkerClock clock, std::span<const std::uint32_t> positions,
                      std::span<std::uint32_t> sum_rows, const std::byte* inputs);
  /// Positions of keys; new keys get rows with initial values.
  Outcome positions_of(std::span<const Key> keys, std::span<std::uint32_t> positions);
  Status grow_to(std::uint64_t rows);
  void init_rows(std::span<const Key> keys, std::span<const std::uint32_t> positions,
                 std::uint32_t first_new);
  void init_rows_there(std::span<const Key> keys, std::span<const std::uint32_t> positions,
                       std::uint32_t first_new, std::span<std::byte> initial);
  void write_initial_row_of(Key key, std::byte* row) const;
  std::uint32_t* row_clocks(std::uint32_t position) {
    return reinterpret_cast<std::uint32_t*>(states_pages_[position >> page_shift_]->data +
                                            states_.bytes);
  }
  /// Rows last accounted for before `clock` make up for the rounds that they missed.
  void catch_up(std::span<const std::uint32_t> positions, WorkerClock clock,
                const UpdateRule& rule);
  void catch_up_all(WorkerClock clock, const UpdateRule& rule);
  RoundSums& sums_of(WorkerClock clock) {
    return sums_[static_cast<std::uint64_t>(clock.value) % sums_.size()];
  }
  /// The rows of a clock's sums for these positions; new ones are cleared.
  Outcome sum_rows_of(RoundSums& sums, std::span<const std::uint32_t> positions,
                      std::span<std::uint32_t> sum_rows);
  std::uint32_t& sum_row(RoundSums& sums, std::uint32_t position) const {
    return reinterpret_cast<std::uint32_t*>(
        sums.maps[position >> page_shift_]->data)[position & (page_rows() - 1)];
  }
  Status grow_sums(RoundSums& sums, std::uint64_t rows);
  /// As kernels, and the CPU of the host, read them.
  std::uint32_t* positions_there(const RoundSums& sums, std::size_t page) const {
    return reinterpret_cast<std::uint32_t*>(sums.page_data[page] +
                                            page_rows() * table_.sum_row_bytes());
  }
  std::uint32_t* sum_positions(const RoundSums& sums, std::size_t page) const {
    return context_.late() ? reinterpret_cast<std::uint32_t*>(sums.positions[page]->data)
                           : positions_there(sums, page);
  }
  /// Rows of a clock's sums from `first` on are new: they are cleared, and their positions are
  /// brought to a device.
  void start_sum_rows(RoundSums& sums, std::uint32_t first);
  void fold_round(WorkerClock clock);

  const TableRules& table_;
  StoreContext context_;
  bool decays_;
  unsigned page_shift_;
  StateLayout states_;
  std::size_t state_page_bytes_;
  RowShape shape_;
  SparseIndex index_;
  KernelArray<SegmentArrays> pages_;
  std::vector<SegmentMemory*> value_pages_;
  std::vector<SegmentMemory*> states_pages_;
  std::vector<RoundSums> sums_;
  std::uint64_t row_count_ = 0;
  std::uint64_t memory_bytes_ = 0;  ///< taken from the budget, without the indices
  std::uint64_t host_bytes_ = 0;    ///< on a device: from that of host memory, likewise
  WorkerClock version_;
  bool pushed_ = false;
};

}  // namespace shoal
