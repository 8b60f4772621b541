#include "cuda/rule_kernels.h"

#include <array>

#include "core/ops/rules.h"
#include "cuda/row_kernels.h"

namespace shoal::cuda {

namespace {

struct Named {
  std::string_view rule;
  const RuleKernelTable& (*kernels)();
};

template <class... F>
constexpr auto named() {
  return std::array{Named{F::kTraits.name, &kernels<F>}...};
}

constexpr auto kBuiltin =
    named<Assign, Add, Min, Max, Sgd, Momentum, Adagrad, Adam, Ftrl, Proximal, ProximalDiagonal>();

}  // namespace

const RuleKernelTable* find_kernels(std::string_view rule) {
  for (const auto& entry : kBuiltin)
    if (entry.rule == rule) return &entry.kernels();
  return nullptr;
}

Status attach_kernels(RuleSet& rules) {
  for (const auto& entry : kBuiltin)
    SHOAL_TRY(rules.attach(entry.rule, DeviceKind::cuda, entry.kernels()));
  rules.attach(DeviceKind::cuda, row_kernels());
  return {};
}

}  // namespace shoal::cuda
