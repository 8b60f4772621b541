#pragma once

#include <cstddef>

#include "core/base/ids.h"
#include "core/ops/copy_rows.h"
#include "core/table/table_spec.h"

namespace shoal::cuda {

// For rows, lists and packed rows in memory that kernels reach; packed rows are aligned to the
// type.

/// gather_rows and scatter_rows (core/ops/copy_rows.h) in a cudaStream_t.
void gather_rows(const ListedRows& rows, DType dtype, std::byte* out, void* stream);
/// Rows are distinct.
void scatter_rows(const ListedRows& rows, DType dtype, const std::byte* in, void* stream);
/// Adds packed rows to the weights of listed rows, which may repeat: by atomic operations of the
/// type, so that sums of repeated rows differ from run to run in their last bits. Where they must
/// not: RowMerger, and the rule Add.
void scatter_add(const ListedRows& rows, DType dtype, const std::byte* in, void* stream);

/// write_initial_rows (core/ops/initializer.h), the same bits.
void write_initial_rows(const Initializer& initializer, DType dtype, Row first, std::size_t count,
                        std::uint32_t width, std::byte* rows, void* stream);

}  // namespace shoal::cuda
