#pragma once

#include <string_view>

#include "core/base/result.h"
#include "core/ops/rule_set.h"

namespace shoal::cuda {

/// The entry points of a built-in rule's functor as CUDA kernels. Asking for them touches no
/// device, so that this needs none.
template <class F>
const RuleKernelTable& kernels();

/// Those of the built-in rule of that name, or null.
const RuleKernelTable* find_kernels(std::string_view rule);

/// Gives all built-in rules of `rules` their form for GPUs, and GPUs what is done to rows there.
/// Errors: unknown_name.
Status attach_kernels(RuleSet& rules);

}  // namespace shoal::cuda
