#include "core/ops/gradient_rules.h"
#include "cuda/rule_kernels.cuh"

namespace shoal::cuda {

template const RuleKernelTable& kernels<Sgd>();
template const RuleKernelTable& kernels<Momentum>();
template const RuleKernelTable& kernels<Adagrad>();
template const RuleKernelTable& kernels<Adam>();

}  // namespace shoal::cuda
