// A plugin of which one rule has a name that is taken, for tests/core/plugin_test.cc.

#include "core/ops/math.h"
#include "core/ops/plugin.h"

namespace {

template <int Which>
struct Named {
  static constexpr shoal::RuleTraits kTraits{.name = Which == 0 ? "test_new" : "sgd"};
  static constexpr auto parameters() { return std::array<shoal::ParameterInfo, 0>{}; }
  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T input) const {
    weight = input;
  }
};

}  // namespace

SHOAL_PLUGIN(rules) { rules.add<Named<0>>().add<Named<1>>(); }
