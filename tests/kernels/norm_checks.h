#pragma once

#include "core/memory/dtype.h"
#include "cuda/norm_entries.h"
#include "tests/kernels/target.h"

namespace shoal::test {

/// Against sums in double: odd lengths, arrays beside packs, many runs in one call, a run of
/// several levels, NaN and infinities; the same bits each time.
void check_norms(Target& target, cuda::NormKernels kernels, DType dtype);

}  // namespace shoal::test
