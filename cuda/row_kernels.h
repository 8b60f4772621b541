#pragma once

#include <cstddef>

#include "core/ops/row_kernels.h"

namespace shoal::cuda {

/// What stores do with rows in GPU memory. Asking for them touches no device.
const RowKernels& row_kernels();

/// Adds packed rows, aligned to their type, to the weights of listed rows, which may repeat: by
/// atomic operations of the type, so that sums of repeated rows differ from run to run in their
/// last bits. Where they must not: RowMerger, and the rule Add.
void scatter_add(const ListedRows& rows, DType dtype, const std::byte* in, void* stream);

}  // namespace shoal::cuda
