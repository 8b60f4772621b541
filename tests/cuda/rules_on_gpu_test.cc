#include <gtest/gtest.h>

#include <string>

#include "core/ops/rules.h"
#include "cuda/row_kernels.h"
#include "cuda/rule_kernels.h"
#include "tests/cuda/managed_memory.h"
#include "tests/cuda/on_gpu.h"
#include "tests/kernels/rule_checks.h"

namespace shoal {
namespace {

class GpuTarget final : public test::ManagedMemory<test::RuleTarget> {
 public:
  const RuleKernelTable& kernels(std::string_view rule) override {
    const auto* found = cuda::find_kernels(rule);
    EXPECT_NE(found, nullptr) << rule;
    return *found;
  }
  const RowKernels& rows() override { return cuda::row_kernels(); }
  void scatter_add(const ListedRows& rows, DType dtype, const std::byte* packed) override {
    cuda::scatter_add(rows, dtype, packed, nullptr);
  }
};

class RulesOnGpu : public testing::TestWithParam<test::Reference> {
 protected:
  void SetUp() override { SHOAL_NEEDS_GPU(); }
  GpuTarget target_;
};

TEST_P(RulesOnGpu, DenseRunsGiveTheBitsOfTheHostsKernels) { check_dense(target_, GetParam()); }
TEST_P(RulesOnGpu, SeveralPushesAreOnePass) { check_pushes(target_, GetParam()); }
TEST_P(RulesOnGpu, ListedRowsGiveTheBitsOfTheHostsKernels) { check_listed(target_, GetParam()); }
TEST_P(RulesOnGpu, CatchUpAsTheHostDoes) { check_catching_up(target_, GetParam()); }

TEST(CopiesOnGpu, GiveWhatTheHostsDo) {
  SHOAL_NEEDS_GPU();
  GpuTarget target;
  check_copies(target);
}

TEST(InitialRowsOnGpu, AreTheHosts) {
  SHOAL_NEEDS_GPU();
  GpuTarget target;
  check_initial_rows(target);
}

TEST(SumsOnGpu, AreTheHosts) {
  SHOAL_NEEDS_GPU();
  GpuTarget target;
  check_sums(target);
}

TEST(AdditionsOnGpu, TakeRowsThatRepeat) {
  SHOAL_NEEDS_GPU();
  GpuTarget target;
  check_additions(target);
}

INSTANTIATE_TEST_SUITE_P(Builtin, RulesOnGpu, testing::ValuesIn(test::references()),
                         [](const auto& info) {
                           return info.param.rule + "_" + std::to_string(info.index);
                         });

/// No device is needed to know them.
TEST(Kernels, AreAttachedToEveryBuiltInRule) {
  auto rules = RuleSet::builtin();
  ASSERT_TRUE(cuda::attach_kernels(rules).ok());
  const auto on_host = rules.infos(), on_gpu = rules.infos(DeviceKind::cuda);
  ASSERT_EQ(on_host.size(), on_gpu.size());
  for (std::size_t i = 0; i < on_host.size(); ++i) {
    EXPECT_EQ(on_host[i].name, on_gpu[i].name);
    EXPECT_EQ(on_host[i].dtypes, on_gpu[i].dtypes) << on_host[i].name;
  }
  EXPECT_TRUE(rules.make(Adam{}, DType::bf16, DeviceKind::cuda).ok());
  EXPECT_EQ(cuda::find_kernels("no such rule"), nullptr);
}

}  // namespace
}  // namespace shoal
