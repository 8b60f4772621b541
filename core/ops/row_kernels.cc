#include "core/ops/row_kernels.h"

#include "core/base/assert.h"
#include "core/ops/aggregate.h"
#include "core/ops/copy_rows.h"
#include "core/ops/initializer.h"

namespace shoal {

const RowKernels& host_row_kernels() {
  using Stream = RowKernels::Stream;
  static constexpr RowKernels kKernels{
      .initialize =
          [](const Initializer& initializer, DType dtype, Row first, std::size_t count,
             std::uint32_t width, std::byte* rows,
             Stream) { write_initial_rows(initializer, dtype, first, count, width, rows); },
      .gather = [](const ListedRows& rows, DType dtype, std::byte* out,
                   Stream) { gather_rows(rows, dtype, out); },
      .scatter = [](const ListedRows& rows, DType dtype, const std::byte* in,
                    Stream) { scatter_rows(rows, dtype, in); },
      .clear_sums = [](Aggregate aggregate, DType dtype, std::byte* sums, std::size_t count,
                       Stream) { aggregate_kernels(aggregate, dtype).clear(sums, count); },
      .start_sums =
          [](DType dtype, std::byte* sums, const std::byte* pushed, std::size_t count, Stream) {
            aggregate_kernels(Aggregate::last, dtype).start(sums, pushed, count);
          },
      .add_sums = [](Aggregate aggregate, DType dtype, std::byte* sums, const std::byte* pushed,
                     std::size_t count,
                     Stream) { aggregate_kernels(aggregate, dtype).dense(sums, pushed, count); },
      .add_listed_sums =
          [](Aggregate aggregate, DType dtype, std::byte* const* pages, std::uint32_t page_shift,
             std::size_t row_values, std::span<const std::uint32_t> positions, RuleInputs pushed,
             Stream) {
            SHOAL_ASSERT(!pushed.sums, "the host adds what was pushed");
            aggregate_kernels(aggregate, dtype)
                .rows(pages, page_shift, row_values, positions, pushed.values);
          },
      .finish_sums =
          [](DType dtype, std::byte* values, const std::byte* sums, std::size_t count, Stream) {
            aggregate_kernels(Aggregate::last, dtype).finish(values, sums, count);
          }};
  return kKernels;
}

}  // namespace shoal
