#pragma once

#include <cstddef>
#include <cstdint>

#include "core/memory/dtype.h"
#include "core/table/table_spec.h"
#include "cuda/merge_tiles.h"
#include "cuda/of_type.h"
#include "cuda/passes.h"

namespace shoal::cuda {

/// Listed rows and what was pushed to each, `row_values` values of `dtype`, aligned to it.
struct PushedList {
  const std::uint32_t* positions = nullptr;
  std::uint32_t count = 0;
  const std::byte* pushed = nullptr;
  DType dtype = DType::f32;
  std::size_t row_values = 1;
};

/// MergeEntries on a GPU, in a cudaStream_t.
void merge_rows(const PushedList& list, Aggregate aggregate, const MergeScratch& scratch,
                Scratch sort, Scratch sum, std::byte* sums, void* stream);

/// Makes lists distinct, for an executor (see rule_entries.h) that has Passes, too.
template <class Executor>
class MergeEntries {
 public:
  /// scratch.distinct: the rows, in ascending order; sums[r], of the accumulator's type, is what
  /// was pushed to the r-th.
  static void merge(const PushedList& list, Aggregate aggregate, const MergeScratch& scratch,
                    Scratch sort, Scratch sum, std::byte* sums, void* stream) {
    if (list.count == 0) return;
    Executor::run(NumberTiles(scratch, list.count), stream);
    Executor::sort(sort, list.positions, scratch.sorted_positions, scratch.indices,
                   scratch.sorted_indices, list.count, stream);
    Executor::run(FirstTiles(scratch, list.count), stream);
    Executor::exclusive_sum(sum, scratch.is_first, scratch.runs, std::uint64_t{list.count} + 1,
                            stream);
    Executor::run(RunTiles(scratch, list.count), stream);
    of_type(list.dtype, [&]<class T>() { sum_runs<T>(list, aggregate, scratch, sums, stream); });
  }

 private:
  template <class T, Aggregate A>
  static void sum_runs_by(const PushedList& list, const MergeScratch& scratch, std::byte* sums,
                          void* stream) {
    Executor::run(SumRunTiles<T, A>(scratch, list.count, reinterpret_cast<const T*>(list.pushed),
                                    list.row_values, reinterpret_cast<Accumulator<T>*>(sums)),
                  stream);
  }
  template <class T>
  static void sum_runs(const PushedList& list, Aggregate aggregate, const MergeScratch& scratch,
                       std::byte* sums, void* stream) {
    switch (aggregate) {
      case Aggregate::sum:
        return sum_runs_by<T, Aggregate::sum>(list, scratch, sums, stream);
      case Aggregate::last:
        return sum_runs_by<T, Aggregate::last>(list, scratch, sums, stream);
      case Aggregate::min:
        return sum_runs_by<T, Aggregate::min>(list, scratch, sums, stream);
      case Aggregate::max:
        return sum_runs_by<T, Aggregate::max>(list, scratch, sums, stream);
    }
  }
};

}  // namespace shoal::cuda
