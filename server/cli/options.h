#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/config.h"
#include "core/base/result.h"

// The configuration's options on the command lines of the subcommands: each has those that it uses.

namespace shoal::cli {

/// What stands on the command line of the configuration.
struct Configured {
  Config::Settings settings;
  std::string file;
};

/// Whether a subcommand, or a process that it starts, reads the option `name` of the Config. `info`
/// reads all: it shows them.
bool uses_option(std::string_view command, std::string_view name);

/// The title of those options in --help.
std::string_view configuration_title();

/// "SIZE [64MiB]": what an option takes, and what holds in the subcommand when nobody says
/// anything.
std::string kind_of_value(std::string_view command, const Config::Shown& option);

/// The options of a subcommand as they stand on a command line: "--watch".
struct CommandOptions {
  std::string command;
  std::vector<std::string> names;
};
/// What is wrong with a word that `chosen` of `all` has no use for: unknown_name, with the
/// subcommands that know the option, or with the nearest name; invalid_argument for what is none.
Error useless_word(std::string_view word, const CommandOptions& chosen,
                   std::span<const CommandOptions> all);

/// The file (also SHOAL_CONFIG), the environment, the command line. Errors: those of Config::load.
Result<Config> load_config(const Configured& configured);

}  // namespace shoal::cli
