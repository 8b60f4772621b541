#include "core/ops/plugin.h"

#include <dlfcn.h>
#include <fmt/core.h>

namespace shoal {

namespace {

/// What dlopen and dlsym last failed for.
std::string loader_reason() {
  const char* reason = ::dlerror();
  return reason != nullptr ? reason : "unknown reason";
}

std::string describe(const PluginAbi& abi) {
  return fmt::format("version {} ({}/{})", abi.version, abi.rule_kind_bytes, abi.rule_set_bytes);
}

}  // namespace

Status load_plugin(const std::string& path, RuleSet& rules) {
  // A name without a slash would be searched for on the library path: a file is meant.
  const auto file = path.find('/') == std::string::npos ? "./" + path : path;
  void* object = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (object == nullptr)
    return Error{Errc::io, fmt::format("cannot load plugin '{}': {}", path, loader_reason())};
  const auto* abi = static_cast<const PluginAbi*>(::dlsym(object, "shoal_plugin_abi"));
  const auto enter = reinterpret_cast<void (*)(RuleSet&)>(::dlsym(object, "shoal_register_rules"));
  if (abi == nullptr || enter == nullptr || abi->magic != PluginAbi{}.magic)
    return Error{Errc::mismatch, fmt::format("'{}' is no Shoal plugin: it does not define "
                                             "SHOAL_PLUGIN(rules) {{ ... }}",
                                             path)};
  if (!(*abi == PluginAbi{}))
    return Error{Errc::mismatch,
                 fmt::format("plugin '{}' was built for plugin interface {}, this program has {}: "
                             "rebuild it against this version of Shoal",
                             path, describe(*abi), describe(PluginAbi{}))};
  auto extended = rules;
  enter(extended);
  if (!extended.status().ok()) {
    const auto& error = extended.status().error();
    return Error{error.code, fmt::format("plugin '{}': {}", path, error.what)};
  }
  rules = std::move(extended);
  return {};
}

}  // namespace shoal
