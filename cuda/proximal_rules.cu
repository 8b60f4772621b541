#include "core/ops/proximal_rules.h"
#include "cuda/rule_kernels.cuh"

namespace shoal::cuda {

template const RuleKernelTable& kernels<Ftrl>();
template const RuleKernelTable& kernels<Proximal>();
template const RuleKernelTable& kernels<ProximalDiagonal>();

}  // namespace shoal::cuda
