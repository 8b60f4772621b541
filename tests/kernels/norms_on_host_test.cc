#include <gtest/gtest.h>

#include "tests/kernels/host_target.h"
#include "tests/kernels/norm_checks.h"

namespace shoal {
namespace {

class NormsOnHost : public testing::TestWithParam<DType> {};

TEST_P(NormsOnHost, AreThoseOfDoubleSums) {
  test::HostMemory<test::Target> target;
  check_norms(target, cuda::norm_kernels<test::OnHost>(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(Types, NormsOnHost,
                         testing::Values(DType::f32, DType::f64, DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(Norms, HaveNoFormForIntegers) {
  EXPECT_EQ(cuda::norm_kernels<test::OnHost>(DType::i32).run, nullptr);
}

}  // namespace
}  // namespace shoal
