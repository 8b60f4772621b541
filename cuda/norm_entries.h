#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/memory/dtype.h"
#include "cuda/dispatch.h"
#include "cuda/norm_tiles.h"

namespace shoal::cuda {

/// Values whose norms are asked for, aligned to their type.
struct NormRun {
  const std::byte* values = nullptr;
  std::uint64_t count = 0;
};

/// The norms of runs of values for an executor (see rule_entries.h).
struct NormKernels {
  /// Norms of room that `run` needs.
  std::uint64_t (*scratch_norms)(std::span<const NormRun> runs) = nullptr;
  /// results[i] = the norms of runs[i]. Results and scratch are memory that kernels write.
  void (*run)(std::span<const NormRun> runs, Norms* results, Norms* scratch,
              void* stream) = nullptr;
};

template <class Executor, class T>
struct NormEntries {
  using Tiles = NormTiles<T>;

  static std::uint64_t scratch_norms(std::span<const NormRun> runs) {
    std::uint64_t pieces = 0;
    for (const auto& run : runs) pieces += Tiles::pieces(run.count);
    return pieces;
  }

  static void run(std::span<const NormRun> runs, Norms* results, Norms* scratch, void* stream) {
    while (!runs.empty()) {
      NormItems items;
      for (const auto& run : runs.first(std::min<std::size_t>(runs.size(), NormItems::kMax))) {
        const auto pieces = Tiles::pieces(run.count);
        if (!items.add({run.values, run.count, scratch, pieces, 0}, Tiles::tiles_for(run.count)))
          break;
        scratch += pieces;
      }
      Executor::run(Tiles(items), stream);
      for (std::uint64_t stride = 1;; stride *= CombineNormTiles::kGroup) {
        const CombineNormTiles combine(items, stride, results);
        Executor::run(combine, stream);
        if (combine.last()) break;
      }
      runs = runs.subspan(items.count());
      results += items.count();
    }
  }
};

/// Null for integers.
template <class Executor>
NormKernels norm_kernels(DType dtype) {
  NormKernels kernels;
  (void)of_float(dtype, [&]<class T>() {
    using Entries = NormEntries<Executor, T>;
    kernels = {&Entries::scratch_norms, &Entries::run};
  });
  return kernels;
}

}  // namespace shoal::cuda
