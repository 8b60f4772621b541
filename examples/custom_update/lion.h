#pragma once

#include <array>

#include "core/ops/math.h"
#include "core/ops/rule_kind.h"

/// Lion: Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS'23, Algorithm 2:
///   w -= learning_rate * (sign(beta1 m + (1 - beta1) g) + decay w);  m = beta2 m + (1 - beta2) g
struct Lion {
  double learning_rate = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double decay = 0;

  static constexpr shoal::RuleTraits kTraits{.name = "lion", .states = 1};
  static constexpr auto parameters() {
    using namespace shoal::range;
    return std::array{
        shoal::parameter<&Lion::learning_rate>("learning_rate", kNonNegative, "step size"),
        shoal::parameter<&Lion::beta1>("beta1", kBelowOne, "share of m in the step"),
        shoal::parameter<&Lion::beta2>("beta2", kBelowOne, "share of m that is kept"),
        shoal::parameter<&Lion::decay>("decay", kNonNegative, "weight decay")};
  }
  operator shoal::UpdateSpec() const { return shoal::update_spec(*this); }

  /// One weight, its state and its gradient: `static_cast<T>` keeps a float table in floats.
  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T& mean, T gradient) const {
    const T mix = static_cast<T>(beta1) * mean + static_cast<T>(1 - beta1) * gradient;
    const T sign = mix > T(0) ? T(1) : mix < T(0) ? T(-1) : mix;  // 0 and NaN as they are
    weight -= static_cast<T>(learning_rate) * (sign + static_cast<T>(decay) * weight);
    mean = static_cast<T>(beta2) * mean + static_cast<T>(1 - beta2) * gradient;
  }
};
