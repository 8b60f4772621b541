#include "cuda/launch.cuh"
#include "cuda/norms.h"

namespace shoal::cuda {

NormKernels norm_kernels(DType dtype) { return norm_kernels<Launcher>(dtype); }

}  // namespace shoal::cuda
