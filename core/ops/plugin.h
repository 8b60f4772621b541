#pragma once

#include <cstdint>
#include <string>

#include "core/base/result.h"
#include "core/ops/rule_set.h"

namespace shoal {

/// What a plugin and the program that loads it must agree on. `version` is raised with every change
/// of RuleKind, RuleSet, the kernels' arguments or the functor's contract; the sizes catch a change
/// that forgot to.
struct PluginAbi {
  std::uint32_t magic = 0x4c48534f;  ///< "OSHL": a symbol of this name that is not ours has another
  std::uint32_t version = 4;
  std::uint32_t rule_kind_bytes = sizeof(RuleKind);
  std::uint32_t rule_set_bytes = sizeof(RuleSet);

  friend bool operator==(const PluginAbi&, const PluginAbi&) = default;
};

/// Loads the shared object at `path` and adds its update rules to `rules`, all or none. The object
/// stays loaded until the process ends, since tables hold its functions. Its code runs with all the
/// rights of the server: load what you trust. Errors: io (cannot be loaded: path and the loader's
/// reason), corrupt (the file was cut short), mismatch (no plugin, or built against another Shoal),
/// exists (a rule's name is taken).
Status load_plugin(const std::string& path, RuleSet& rules);

}  // namespace shoal

/// The whole of a plugin beside its functors:
///   SHOAL_PLUGIN(rules) { rules.add<MyRule>(); }
#define SHOAL_PLUGIN(rules)                                                                    \
  extern "C" __attribute__((visibility("default"))) const ::shoal::PluginAbi shoal_plugin_abi; \
  const ::shoal::PluginAbi shoal_plugin_abi{};                                                 \
  extern "C" __attribute__((visibility("default"))) void shoal_register_rules(                 \
      ::shoal::RuleSet& rules)
