#include <gtest/gtest.h>

#include "core/ops/codec.h"
#include "cuda/codecs.h"
#include "tests/cuda/managed_memory.h"
#include "tests/cuda/on_gpu.h"
#include "tests/kernels/codec_checks.h"

namespace shoal {
namespace {

class CodecsOnGpu : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override { SHOAL_NEEDS_GPU(); }
  test::ManagedMemory<test::Target> target_;
};

TEST_P(CodecsOnGpu, Int8) { check_int8(target_, cuda::int8_kernels(GetParam()), GetParam()); }
TEST_P(CodecsOnGpu, OneBit) { check_onebit(target_, cuda::onebit_kernels(GetParam()), GetParam()); }

INSTANTIATE_TEST_SUITE_P(Types, CodecsOnGpu, testing::Values(DType::f32, DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(CastsOnGpu, AreThoseOfTheHost) {
  SHOAL_NEEDS_GPU();
  test::ManagedMemory<test::Target> target;
  for (const auto dtype : {DType::f16, DType::bf16})
    check_narrow(target, cuda::narrow_kernels(dtype), dtype);
}

TEST(ErrorFeedbackOnGpu, LosesNothing) {
  SHOAL_NEEDS_GPU();
  test::ManagedMemory<test::Target> target;
  check_error_feedback(target, cuda::int8_kernels(DType::f32), &codec::encoded_bytes<codec::Int8>);
  check_error_feedback(target, cuda::onebit_kernels(DType::f32),
                       &codec::encoded_bytes<codec::OneBit>);
}

}  // namespace
}  // namespace shoal
