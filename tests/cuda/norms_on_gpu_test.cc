#include <gtest/gtest.h>

#include "cuda/norms.h"
#include "tests/cuda/managed_memory.h"
#include "tests/cuda/on_gpu.h"
#include "tests/kernels/norm_checks.h"

namespace shoal {
namespace {

class NormsOnGpu : public testing::TestWithParam<DType> {};

TEST_P(NormsOnGpu, AreThoseOfDoubleSums) {
  SHOAL_NEEDS_GPU();
  test::ManagedMemory<test::Target> target;
  check_norms(target, cuda::norm_kernels(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, NormsOnGpu,
                         testing::Values(DType::f32, DType::f64, DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace shoal
