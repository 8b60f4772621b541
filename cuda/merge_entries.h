#pragma once

#include <cstddef>
#include <cstdint>

#include "core/memory/dtype.h"
#include "core/table/table_spec.h"
#include "cuda/dispatch.h"
#include "cuda/merge_tiles.h"
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

template <class Executor>
void sum_runs(const ListRuns& runs, DType dtype, Aggregate aggregate, std::size_t row_values,
              const std::byte* pushed, std::byte* sums, void* stream) {
  of_type(dtype, [&]<class T>() {
    of_aggregate(aggregate, [&]<Aggregate A>() {
      Executor::run(SumRunTiles<T, A>(runs, reinterpret_cast<const T*>(pushed), row_values,
                                      reinterpret_cast<Accumulator<T>*>(sums)),
                    stream);
    });
  });
}

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
    sum_runs<Executor>(
        {scratch.begins, scratch.sorted_indices, list.count, scratch.runs + list.count}, list.dtype,
        aggregate, list.row_values, list.pushed, sums, stream);
  }
};

}  // namespace shoal::cuda
