// A plugin whose rule adds, and stops the server's process in the midst of it, once: with kHaltAt
// values of kHalt behind it and the others still to be read.

#include <array>
#include <csignal>
#include <cstddef>

#include "core/ops/plugin.h"
#include "core/ops/rule_kind.h"

namespace {

constexpr int kHalt = 777;
constexpr std::size_t kHaltAt = 300'000;

struct Halting {
  static constexpr shoal::RuleTraits kTraits{.name = "halting", .repeats_compose = true};
  static constexpr auto parameters() { return std::array<shoal::ParameterInfo, 0>{}; }

  template <class T>
  void operator()(T& weight, T value) const {
    static std::size_t seen = 0;
    if (value == static_cast<T>(kHalt) && ++seen == kHaltAt) std::raise(SIGSTOP);
    weight += value;
  }
};

}  // namespace

SHOAL_PLUGIN(rules) { rules.add<Halting>(); }
