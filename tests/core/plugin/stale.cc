// What a plugin of another version looks like, for tests/core/plugin_test.cc.

#include <cstdlib>

#include "core/ops/plugin.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT const shoal::PluginAbi shoal_plugin_abi;
const shoal::PluginAbi shoal_plugin_abi{.version = 999};

EXPORT void shoal_register_rules(shoal::RuleSet&);
void shoal_register_rules(shoal::RuleSet&) { std::abort(); }  // Must never be called.
