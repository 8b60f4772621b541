#include "core/ops/plugin.h"

#include <dlfcn.h>
#include <fmt/core.h>

#include <filesystem>
#include <fstream>

#include "core/ops/object_file.h"

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

/// The loader maps a file without a look at its size; the pages that are missing would end this
/// process with SIGBUS. What is no object at all the loader itself refuses.
Status check_whole(const std::string& file, const std::string& path) {
  std::error_code failed;
  const auto size = std::filesystem::file_size(file, failed);
  if (failed) return {};  // a folder, a pipe, nothing
  std::ifstream in(file, std::ios::binary);
  const auto needed = object_bytes(in);
  if (needed <= size) return {};
  return Error{Errc::corrupt, fmt::format("cannot load plugin '{}': the file was cut short, it has "
                                          "{} bytes of {}: build or copy it again",
                                          path, size, needed)};
}

}  // namespace

Status load_plugin(const std::string& path, RuleSet& rules) {
  // A name without a slash would be searched for on the library path: a file is meant.
  const auto file = path.find('/') == std::string::npos ? "./" + path : path;
  SHOAL_TRY(check_whole(file, path));
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
