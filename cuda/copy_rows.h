#pragma once

#include <cstddef>

#include "core/ops/copy_rows.h"

namespace shoal::cuda {

/// gather_rows and scatter_rows (core/ops/copy_rows.h) in a cudaStream_t, for rows, lists and
/// packed rows in memory that kernels reach. Packed rows are aligned to the type.
void gather_rows(const ListedRows& rows, DType dtype, std::byte* out, void* stream);
/// Rows are distinct.
void scatter_rows(const ListedRows& rows, DType dtype, const std::byte* in, void* stream);

}  // namespace shoal::cuda
