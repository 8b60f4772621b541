#pragma once

#include <array>

#include "core/ops/math.h"
#include "core/ops/rule_kind.h"

// Rules without parameters or states. Read core/ops/gradient_rules.h for one with both.

namespace shoal {

/// w = x. Of repeated rows in a push the last wins.
struct Assign {
  static constexpr RuleTraits kTraits{
      .name = "assign", .aggregate = Aggregate::last, .integers = true, .repeats_compose = true};
  static constexpr auto parameters() { return std::array<ParameterInfo, 0>{}; }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    weight = input;
  }
};

/// w += x; integers wrap. Sums of gradients, counters, sketches.
struct Add {
  static constexpr RuleTraits kTraits{.name = "add", .integers = true, .repeats_compose = true};
  static constexpr auto parameters() { return std::array<ParameterInfo, 0>{}; }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    weight = math::add(weight, input);
  }
};

/// w = min(w, x); NaN if either is.
struct Min {
  static constexpr RuleTraits kTraits{
      .name = "min", .aggregate = Aggregate::min, .integers = true, .repeats_compose = true};
  static constexpr auto parameters() { return std::array<ParameterInfo, 0>{}; }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    weight = math::lesser(weight, input);
  }
};

/// w = max(w, x); NaN if either is.
struct Max {
  static constexpr RuleTraits kTraits{
      .name = "max", .aggregate = Aggregate::max, .integers = true, .repeats_compose = true};
  static constexpr auto parameters() { return std::array<ParameterInfo, 0>{}; }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    weight = math::greater(weight, input);
  }
};

}  // namespace shoal
