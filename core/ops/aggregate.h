#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/memory/dtype.h"
#include "core/ops/simd.h"
#include "core/table/table_spec.h"

namespace shoal {

/// Combines pushes before an update rule sees them: of a clock (per_clock and collective tables),
/// or repeated rows of one push. Sums are arrays of `row_values` = width x inputs values a row, in
/// the layout of a push, of the dtype's accumulator (f32 for f16 and bf16). Every operation works
/// value by value in the order of the calls, so equal calls give equal bits. Pushed values may be
/// unaligned; sums are aligned to their type.
struct AggregateKernels {
  /// Sets `count` sums to what changes nothing: 0; for min the largest value (+infinity), for max
  /// the smallest. `last` has 0.
  void (*clear)(std::byte* sums, std::size_t count) = nullptr;
  /// sums[i] = pushed[i] for `count` values: the first push of a sum.
  void (*start)(std::byte* sums, const std::byte* pushed, std::size_t count) = nullptr;
  /// sums[i] = sums[i] + pushed[i] (or last, min, max) for `count` values.
  void (*dense)(std::byte* sums, const std::byte* pushed, std::size_t count) = nullptr;
  /// The same for listed rows, which may repeat: row r of `pushed` goes to row
  /// (positions[r] & mask of page_shift) of pages[positions[r] >> page_shift].
  void (*rows)(std::byte* const* pages, std::uint32_t page_shift, std::size_t row_values,
               std::span<const std::uint32_t> positions, const std::byte* pushed) = nullptr;
  /// values[i] = sums[i], rounded to the dtype, for `count` values: to send what was combined.
  void (*finish)(std::byte* values, const std::byte* sums, std::size_t count) = nullptr;
};

/// The kernels that suit this CPU. `simd` is for tests, which compare forms.
const AggregateKernels& aggregate_kernels(Aggregate aggregate, DType dtype,
                                          host::Simd simd = host::widest_simd());

}  // namespace shoal
