// In place of cuda_math.cc where CUDA's toolkit or cuBLAS was not found.
#include "examples/mlp_cuda/math.h"

namespace shoal::mlp {

Result<std::unique_ptr<Math>> create_cuda_math(std::uint16_t /*ordinal*/) {
  return Error{Errc::unavailable,
               "this mlp_cuda was built without CUDA: build it where CUDA's toolkit, 12.5 or "
               "newer, and its cuBLAS are (SHOAL_WITH_CUDA=ON says what is missing), or take "
               "--device cpu"};
}

}  // namespace shoal::mlp
