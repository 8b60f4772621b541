#pragma once

#include "cuda/norm_entries.h"

namespace shoal::cuda {

/// Kernels that give the norms of values in GPU memory and count what is not finite; null for
/// integers.
NormKernels norm_kernels(DType dtype);

}  // namespace shoal::cuda
