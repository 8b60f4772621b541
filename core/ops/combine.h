#pragma once

#include <limits>

#include "core/ops/math.h"
#include "core/table/table_spec.h"

// How two pushes of a value combine, for the host and for CUDA kernels.

namespace shoal::math {

template <Aggregate A, class S>
SHOAL_HOST_DEVICE S combine(S sum, S pushed) {
  if constexpr (A == Aggregate::sum)
    return math::add(sum, pushed);
  else if constexpr (A == Aggregate::min)
    return math::lesser(sum, pushed);
  else if constexpr (A == Aggregate::max)
    return math::greater(sum, pushed);
  else
    return pushed;
}

/// What changes nothing; `last` has 0.
template <Aggregate A, class S>
constexpr S identity() {
  using Limits = std::numeric_limits<S>;
  constexpr bool kInfinite = Limits::has_infinity;
  if (A == Aggregate::min) return kInfinite ? Limits::infinity() : Limits::max();
  if (A == Aggregate::max) return kInfinite ? -Limits::infinity() : Limits::lowest();
  return S{};
}

}  // namespace shoal::math
