#pragma once

#include <cstddef>
#include <cstdint>

#include "core/memory/dtype.h"
#include "core/ops/combine.h"
#include "core/ops/copy_rows.h"
#include "cuda/listed_tiles.h"
#include "cuda/tiles.h"

// Bodies that make the rows of a push distinct. Sorted by position, equal ones stand together in
// the order of the list: each run of them becomes one row, summed in that order, as the host's
// RowMerger does.

namespace shoal::cuda {

/// A merged list: `rows` places, of which those behind the last distinct row are kAbsentRow.
struct MergeScratch {
  std::uint32_t* indices = nullptr;           ///< 0, 1, ...
  std::uint32_t* sorted_positions = nullptr;  ///< and
  std::uint32_t* sorted_indices = nullptr;    ///< where in the list each of those stood
  std::uint32_t* is_first = nullptr;          ///< 1: a run begins here; then a 0
  std::uint32_t* runs = nullptr;    ///< how many began before; behind the last, how many there are
  std::uint32_t* begins = nullptr;  ///< where each run begins; then where the last ends
  std::uint32_t* distinct = nullptr;  ///< the position of each
};

/// Before the sort.
class NumberTiles : public OneEach {
 public:
  NumberTiles(MergeScratch scratch, std::uint64_t count) : OneEach(count), scratch_(scratch) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    scratch_.indices[i] = static_cast<std::uint32_t>(i);
    scratch_.distinct[i] = kAbsentRow;
  }

 private:
  MergeScratch scratch_;
};

/// Before the scan. Rows that are not there, which stand last, are no run.
class FirstTiles : public OneEach {
 public:
  FirstTiles(MergeScratch scratch, std::uint64_t count)
      : OneEach(count + 1), scratch_(scratch), count_(count) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    const auto* sorted = scratch_.sorted_positions;
    scratch_.is_first[i] =
        i != count_ && sorted[i] != kAbsentRow && (i == 0 || sorted[i] != sorted[i - 1]);
  }

 private:
  MergeScratch scratch_;
  std::uint64_t count_;
};

/// Behind the scan: where runs begin, and their rows.
class RunTiles : public OneEach {
 public:
  RunTiles(MergeScratch scratch, std::uint64_t count)
      : OneEach(count + 1), scratch_(scratch), count_(count) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (!has(i)) return;
    const auto* sorted = scratch_.sorted_positions;
    if (scratch_.is_first[i] != 0) {
      scratch_.begins[scratch_.runs[i]] = static_cast<std::uint32_t>(i);
      scratch_.distinct[scratch_.runs[i]] = sorted[i];
    }
    const bool there = i != count_ && sorted[i] != kAbsentRow;
    const bool was_there = i != 0 && sorted[i - 1] != kAbsentRow;
    if (!there && (was_there || i == 0))
      scratch_.begins[scratch_.runs[i]] = static_cast<std::uint32_t>(i);
  }

 private:
  MergeScratch scratch_;
  std::uint64_t count_;
};

/// Runs of places of a list: run r has order[begins[r]] to order[begins[r + 1] - 1].
struct ListRuns {
  const std::uint32_t* begins;
  const std::uint32_t* order;
  std::uint64_t most;          ///< runs that there may be
  const std::uint32_t* count;  ///< how many there are; null: so many
};

/// Sums the rows of each run.
template <class T, Aggregate A>
class SumRunTiles {
  using S = Accumulator<T>;

 public:
  SumRunTiles(const ListRuns& runs, const T* pushed, std::size_t row_values, S* sums)
      : runs_(runs),
        pushed_(pushed),
        row_values_(row_values),
        teams_((row_values + kRun<T> - 1) / kRun<T>),
        sums_(sums) {}

  SHOAL_HOST_DEVICE std::uint32_t tiles() const { return teams_.tiles(runs_.most); }

  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto run = teams_.row(tile, thread);
    if (run >= runs_.most || (runs_.count != nullptr && run >= *runs_.count)) return;
    const auto begin = runs_.begins[run], end = runs_.begins[run + 1];
    for (std::size_t v = teams_.member(thread); v < row_values_; v += teams_.size()) {
      S sum = value(begin, v);
      for (auto i = begin + 1; i < end; ++i) sum = math::combine<A>(sum, value(i, v));
      sums_[run * row_values_ + v] = sum;
    }
  }

 private:
  SHOAL_HOST_DEVICE S value(std::uint32_t i, std::size_t v) const {
    return static_cast<S>(pushed_[runs_.order[i] * row_values_ + v]);
  }

  ListRuns runs_;
  const T* pushed_;
  std::size_t row_values_;
  RowTeams teams_;
  S* sums_;
};

}  // namespace shoal::cuda
