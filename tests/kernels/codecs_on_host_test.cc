#include <gtest/gtest.h>

#include "core/ops/codec.h"
#include "tests/kernels/codec_checks.h"
#include "tests/kernels/host_target.h"

namespace shoal {
namespace {

using test::HostMemory;
using test::OnHost;
using test::Target;

class CodecsOnHost : public testing::TestWithParam<DType> {
 protected:
  HostMemory<Target> target_;
};

TEST_P(CodecsOnHost, Int8) {
  check_int8(target_, cuda::codec_kernels<OnHost, codec::Int8>(GetParam()), GetParam());
}
TEST_P(CodecsOnHost, OneBit) {
  check_onebit(target_, cuda::codec_kernels<OnHost, codec::OneBit>(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, CodecsOnHost, testing::Values(DType::f32, DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(CastsOnHost, AreThoseOfTheHost) {
  HostMemory<Target> target;
  for (const auto dtype : {DType::f16, DType::bf16})
    check_narrow(target, cuda::narrow_kernels<OnHost>(dtype), dtype);
}

TEST(ErrorFeedbackOnHost, LosesNothing) {
  HostMemory<Target> target;
  check_error_feedback(target, cuda::codec_kernels<OnHost, codec::Int8>(DType::f32),
                       &codec::encoded_bytes<codec::Int8>);
  check_error_feedback(target, cuda::codec_kernels<OnHost, codec::OneBit>(DType::f32),
                       &codec::encoded_bytes<codec::OneBit>);
}

TEST(Codecs, HaveNoFormForOtherTypes) {
  EXPECT_EQ((cuda::codec_kernels<OnHost, codec::Int8>(DType::i64).encode), nullptr);
}

}  // namespace
}  // namespace shoal
