// A plugin with two rules, for tests/core/plugin_test.cc.

#include "core/ops/math.h"
#include "core/ops/plugin.h"

namespace {

/// w += factor * x
struct Scaled {
  double factor = 3;

  static constexpr shoal::RuleTraits kTraits{.name = "test_scaled", .integers = true};
  static constexpr auto parameters() {
    return std::array{
        shoal::parameter<&Scaled::factor>("factor", shoal::range::kAny, "what x is multiplied by")};
  }
  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    weight = shoal::math::add(weight, static_cast<T>(static_cast<T>(factor) * input));
  }
};

/// Counts the pushes of each weight in its state.
struct Counted {
  static constexpr shoal::RuleTraits kTraits{.name = "test_counted", .states = 1};
  static constexpr auto parameters() { return std::array<shoal::ParameterInfo, 0>{}; }
  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T& count, T /*input*/) const {
    count += T(1);
    weight = count;
  }
};

}  // namespace

SHOAL_PLUGIN(rules) { rules.add<Scaled>().add<Counted>(); }
