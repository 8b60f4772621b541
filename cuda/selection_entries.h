#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/base/assert.h"
#include "core/memory/dtype.h"
#include "cuda/dispatch.h"
#include "cuda/passes.h"
#include "cuda/selection_tiles.h"

namespace shoal::cuda {

/// Rows one behind the other, aligned to their type.
struct RowArray {
  std::byte* values = nullptr;
  DType dtype = DType::f32;
  std::uint32_t rows = 0;
  std::uint32_t width = 1;  ///< values a row

  std::size_t row_bytes() const { return width * byte_size(dtype); }
};

/// What a choice is made in, for so many rows each; `chosen` and `count` are the result.
struct SelectionScratch {
  float* scores = nullptr;
  std::uint8_t* flags = nullptr;
  std::uint32_t* keys = nullptr;
  std::uint32_t* indices = nullptr;
  std::uint32_t* sorted_keys = nullptr;
  std::uint32_t* sorted_indices = nullptr;
  std::uint32_t* chosen = nullptr;  ///< ascending
  std::uint32_t* count = nullptr;   ///< one
  Scratch sort, select;
};

/// Choices among rows of floats, for an executor (see rule_entries.h) that has Passes, too.
template <class Executor>
class SelectionEntries {
 public:
  static void choose_above(const RowArray& rows, const std::byte* base, float threshold,
                           const SelectionScratch& scratch, void* stream) {
    score(rows, base, scratch, stream);
    Executor::run(FlagTiles(scratch.scores, threshold, rows.rows, scratch.flags), stream);
    select(rows, scratch, stream);
  }

  static void choose_top(const RowArray& rows, const std::byte* base, std::uint32_t k,
                         const SelectionScratch& scratch, void* stream) {
    score(rows, base, scratch, stream);
    Executor::run(
        RankTiles(scratch.scores, rows.rows, scratch.keys, scratch.indices, scratch.flags), stream);
    Executor::sort(scratch.sort, scratch.keys, scratch.sorted_keys, scratch.indices,
                   scratch.sorted_indices, rows.rows, stream);
    Executor::run(MarkTiles(scratch.sorted_keys, scratch.sorted_indices, std::min(k, rows.rows),
                            scratch.flags),
                  stream);
    select(rows, scratch, stream);
  }

  /// Packs the rows that were chosen.
  static void take(const RowArray& rows, std::byte* base, Taken what,
                   const SelectionScratch& scratch, std::byte* out, void* stream) {
    auto bits = rows.row_bytes() | reinterpret_cast<std::uintptr_t>(rows.values) |
                reinterpret_cast<std::uintptr_t>(out);
    if (what == Taken::recorded) bits |= reinterpret_cast<std::uintptr_t>(base);
    of_unit(bits, [&]<class Unit>() {
      const auto run = [&]<Taken What>() {
        Executor::run(TakeTiles<Unit, What>(rows.values, base, rows.rows, rows.row_bytes(),
                                            scratch.chosen, scratch.count, out),
                      stream);
      };
      if (what == Taken::cleared)
        run.template operator()<Taken::cleared>();
      else if (what == Taken::recorded)
        run.template operator()<Taken::recorded>();
      else
        run.template operator()<Taken::kept>();
    });
  }

  /// Packs the keys of the rows that were chosen.
  static void take_keys(const std::uint64_t* keys, std::uint32_t rows,
                        const SelectionScratch& scratch, std::uint64_t* out, void* stream) {
    take({reinterpret_cast<std::byte*>(const_cast<std::uint64_t*>(keys)), DType::i64, rows, 1},
         nullptr, Taken::kept, scratch, reinterpret_cast<std::byte*>(out), stream);
  }

 private:
  static void score(const RowArray& rows, const std::byte* base, const SelectionScratch& scratch,
                    void* stream) {
    const bool floats = of_float(rows.dtype, [&]<class T>() {
      Executor::run(
          ScoreTiles<T>(reinterpret_cast<const T*>(rows.values), reinterpret_cast<const T*>(base),
                        rows.rows, rows.width, scratch.scores),
          stream);
    });
    SHOAL_ASSERT(floats, "rows of integers are not chosen by how much they changed");
  }
  static void select(const RowArray& rows, const SelectionScratch& scratch, void* stream) {
    Executor::select(scratch.select, scratch.flags, scratch.chosen, scratch.count, rows.rows,
                     stream);
  }
};

}  // namespace shoal::cuda
