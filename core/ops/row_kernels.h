#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/ids.h"
#include "core/memory/dtype.h"
#include "core/ops/rule_kind.h"
#include "core/table/table_spec.h"

namespace shoal {

/// Which rows of a push go to one row: run r is order[begins[r]] to order[begins[r + 1] - 1], in
/// the order in which they combine.
struct PushRuns {
  std::span<const std::uint32_t> begins;  ///< one more than there are runs
  std::span<const std::uint32_t> order;
};

/// What stores do with rows beside update rules, on one kind of device: done on return on the host,
/// in `stream` (Device::stream()) on CUDA, where lists, and what is pushed or packed, is memory
/// that kernels reach, aligned to its type.
///
/// Sums are those of AggregateKernels: arrays of `row_values` = width x inputs values a row, of the
/// dtype's accumulator. Equal calls give equal bits on all devices.
struct RowKernels {
  using Stream = RuleKernels::Stream;

  /// Initial values of `count` rows from row `first`, one behind the other.
  void (*initialize)(const Initializer& initializer, DType dtype, Row first, std::size_t count,
                     std::uint32_t width, std::byte* rows, Stream) = nullptr;
  /// The weights of listed rows to packed rows: see gather_rows.
  void (*gather)(const ListedRows& rows, DType dtype, std::byte* out, Stream) = nullptr;
  /// And back. Rows are distinct on CUDA; elsewhere the last of equal ones wins.
  void (*scatter)(const ListedRows& rows, DType dtype, const std::byte* in, Stream) = nullptr;

  /// Sets `count` sums to what changes nothing.
  void (*clear_sums)(Aggregate aggregate, DType dtype, std::byte* sums, std::size_t count,
                     Stream) = nullptr;
  /// sums[i] = pushed[i] for `count` values.
  void (*start_sums)(DType dtype, std::byte* sums, const std::byte* pushed, std::size_t count,
                     Stream) = nullptr;
  /// sums[i] = sums[i] combined with pushed[i].
  void (*add_sums)(Aggregate aggregate, DType dtype, std::byte* sums, const std::byte* pushed,
                   std::size_t count, Stream) = nullptr;
  /// The same for listed rows of pages of sums (AggregateKernels::rows). Rows are distinct on CUDA.
  /// `pushed.sums`: of the accumulator's type, on CUDA only.
  void (*add_listed_sums)(Aggregate aggregate, DType dtype, std::byte* const* pages,
                          std::uint32_t page_shift, std::size_t row_values,
                          std::span<const std::uint32_t> positions, RuleInputs pushed,
                          Stream) = nullptr;
  /// values[i] = sums[i], rounded to the dtype, for `count` values.
  void (*finish_sums)(DType dtype, std::byte* values, const std::byte* sums, std::size_t count,
                      Stream) = nullptr;
  /// Row r of `sums` = the rows of `pushed` in run r, combined. Null on the host, where RowMerger
  /// does it.
  void (*sum_runs)(Aggregate aggregate, DType dtype, const PushRuns& runs, std::size_t row_values,
                   const std::byte* pushed, std::byte* sums, Stream) = nullptr;
};

const RowKernels& host_row_kernels();

}  // namespace shoal
