#include "core/ops/simple_rules.h"
#include "cuda/rule_kernels.cuh"

namespace shoal::cuda {

template const RuleKernelTable& kernels<Assign>();
template const RuleKernelTable& kernels<Add>();
template const RuleKernelTable& kernels<Min>();
template const RuleKernelTable& kernels<Max>();

}  // namespace shoal::cuda
