#pragma once

#include "cuda/launch.cuh"
#include "cuda/rule_entries.h"
#include "cuda/rule_kernels.h"

namespace shoal::cuda {

/// Instantiated for each built-in rule, in sources that compile side by side.
template <class F>
const RuleKernelTable& kernels() {
  static constexpr auto kTable = kernel_table<Launcher, F>();
  return kTable;
}

}  // namespace shoal::cuda
