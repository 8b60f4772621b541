// What kernels of a GPU do, thread after thread on this CPU.

#include <gtest/gtest.h>

#include <string>

#include "core/ops/rules.h"
#include "cuda/row_entries.h"
#include "cuda/rule_entries.h"
#include "tests/kernels/host_target.h"
#include "tests/kernels/rule_checks.h"

namespace shoal {
namespace {

using test::OnHost;

template <class... F>
const RuleKernelTable* find_kernels(std::string_view rule) {
  const RuleKernelTable* found = nullptr;
  const auto look = [&]<class G>() {
    static constexpr auto kTable = cuda::kernel_table<OnHost, G>();
    if (rule == G::kTraits.name) found = &kTable;
  };
  (look.template operator()<F>(), ...);
  return found;
}

class HostTarget final : public test::HostMemory<test::RuleTarget> {
 public:
  const RuleKernelTable& kernels(std::string_view rule) override {
    return *find_kernels<Assign, Add, Min, Max, Sgd, Momentum, Adagrad, Adam, Ftrl, Proximal,
                         ProximalDiagonal>(rule);
  }
  const RowKernels& rows() override {
    static constexpr auto kKernels = cuda::row_kernels<OnHost>();
    return kKernels;
  }
  void scatter_add(const ListedRows& rows, DType dtype, const std::byte* packed) override {
    cuda::RowEntries<OnHost>::scatter_add(rows, dtype, packed, nullptr);
  }
};

class RulesOnHost : public testing::TestWithParam<test::Reference> {
 protected:
  HostTarget target_;
};

TEST_P(RulesOnHost, DenseRunsGiveTheBitsOfTheHostsKernels) { check_dense(target_, GetParam()); }
TEST_P(RulesOnHost, SeveralPushesAreOnePass) { check_pushes(target_, GetParam()); }
TEST_P(RulesOnHost, ListedRowsGiveTheBitsOfTheHostsKernels) { check_listed(target_, GetParam()); }
TEST_P(RulesOnHost, CatchUpAsTheHostDoes) { check_catching_up(target_, GetParam()); }

TEST(CopiesOnHost, GiveWhatTheHostsDo) {
  HostTarget target;
  check_copies(target);
}

TEST(InitialRowsOnHost, AreTheHosts) {
  HostTarget target;
  check_initial_rows(target);
}

TEST(SumsOnHost, AreTheHosts) {
  HostTarget target;
  check_sums(target);
}

TEST(AdditionsOnHost, TakeRowsThatRepeat) {
  HostTarget target;
  check_additions(target);
}

INSTANTIATE_TEST_SUITE_P(Builtin, RulesOnHost, testing::ValuesIn(test::references()),
                         [](const auto& info) {
                           return info.param.rule + "_" + std::to_string(info.index);
                         });

}  // namespace
}  // namespace shoal
