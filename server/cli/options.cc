#include "server/cli/options.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "core/base/nearest.h"

namespace shoal::cli {

namespace {

using Commands = unsigned;  // a set of them
constexpr Commands kRun = 1, kScheduler = 2, kServer = 4, kPerf = 8;
/// Those that ask a running cluster's scheduler.
constexpr Commands kTools = 16;
constexpr Commands kEvery = kRun | kScheduler | kServer | kPerf | kTools;

Commands command_named(std::string_view name) {
  if (name == "run") return kRun;
  if (name == "scheduler") return kScheduler;
  if (name == "server") return kServer;
  if (name == "perf") return kPerf;
  return kTools;
}

struct Use {
  std::string_view option;
  Commands by;
};

/// `run` hands its options to a scheduler, servers and workers of its own, but gives them name,
/// token and addresses itself.
constexpr Use kUses[] = {
    {"scheduler", kServer | kTools},
    {"token_file", kScheduler | kServer | kPerf | kTools},
    {"listen", kScheduler | kServer | kPerf},
    {"name", kServer},
    {"state_dir", kScheduler},
    {"servers", kRun | kScheduler},
    {"workers", kRun | kScheduler},
    {"transports", kEvery},
    {"require", kRun | kServer | kPerf},
    {"devices", kEvery},
    {"rails", kEvery},
    {"interfaces", kEvery},
    {"bulk_turn_bytes", kRun | kServer | kPerf},
    {"join_timeout", kRun | kScheduler | kServer | kPerf},
    {"operation_timeout", kRun | kScheduler | kPerf},
    {"cancel_grace", kRun | kPerf},
    {"connect_timeout", kEvery},
    {"server_beat", kRun | kScheduler | kServer | kPerf},
    {"server_lease", kRun | kScheduler | kServer | kPerf},
    {"worker_beat", kRun | kScheduler | kPerf},
    {"worker_lease", kRun | kScheduler | kPerf},
    {"lost_after", kRun | kScheduler},
    {"straggler_limit", kRun | kScheduler},
    {"progress", kRun | kPerf},
    {"spin", kRun | kServer},
    {"operations_max", kRun | kPerf},
    {"eager_bytes_max", kRun | kPerf},
    {"worker_list_bytes", kRun | kPerf},
    {"registration_cache_bytes", kRun | kPerf},
    {"device", kRun | kServer | kPerf},
    {"credits", kRun | kServer | kPerf},
    {"parked_quota", kRun | kServer | kPerf},
    {"memory_budget", kRun | kServer | kPerf},
    {"landing_bytes", kRun | kServer | kPerf},
    {"copy_bytes", kRun | kServer | kPerf},
    {"server_list_bytes", kRun | kServer | kPerf},
    {"plugins", kRun | kServer},
    {"trace", kRun | kServer | kPerf},
    {"log_level", kEvery},
};

/// What holds when nobody says anything, for --help.
std::string default_of(std::string_view command, const Config::Shown& option) {
  if (command == "perf" && option.name == "progress") return "caller";
  if (command == "perf" && option.name == "log_level") return "warn";
  if (option.name == "log_level" && command_named(command) == kTools) return "off";
  return option.value;
}

/// "run", "run and scheduler", "run, scheduler and server".
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += (i == 0 ? "" : i + 1 == names.size() ? " and " : ", ") + names[i];
  return text;
}

}  // namespace

bool uses_option(std::string_view command, std::string_view name) {
  if (command == "info") return true;
  const auto* const use = std::find_if(std::begin(kUses), std::end(kUses),
                                       [&](const Use& some) { return some.option == name; });
  return use != std::end(kUses) && (use->by & command_named(command)) != 0;
}

std::string_view configuration_title() {
  return "Configuration [default], over SHOAL_<NAME> in the environment, over the file; "
         "TIME: 250ms, 2s, 5min, 1h; SIZE: 4096, 64KiB, 1GiB";
}

std::string kind_of_value(std::string_view command, const Config::Shown& option) {
  const auto value = default_of(command, option);
  return option.takes + (value.empty() ? "" : " [" + value + "]");
}

Error useless_word(std::string_view word, const CommandOptions& chosen,
                   std::span<const CommandOptions> all) {
  if (!word.starts_with("-"))
    return {Errc::invalid_argument,
            fmt::format("'{}' is not expected here{}", word,
                        chosen.command == "run" ? ": the program's command comes after '--'" : "")};
  const auto name = word.substr(0, word.find('='));
  std::vector<std::string> users;
  for (const auto& command : all) {
    const bool knows =
        std::find(command.names.begin(), command.names.end(), name) != command.names.end();
    // That `info` takes an option says nothing: it takes them all.
    if (knows && (command.command != "info" || name == "--config"))
      users.push_back(command.command);
  }
  if (!users.empty())
    return {
        Errc::unknown_name,
        fmt::format("{} is for {}, not for {}{}; see --help", name, listed(users), chosen.command,
                    chosen.command == "run"
                        ? ", whose cluster is its own: a scheduler, a token and free ports on "
                          "the loopback interface, for as long as it runs"
                        : "")};
  const std::vector<std::string_view> known(chosen.names.begin(), chosen.names.end());
  const auto nearest = nearest_name(name, known);
  return {Errc::unknown_name,
          fmt::format("there is no option {}{}; see --help", name,
                      nearest.empty() ? "" : fmt::format(" (did you mean '{}'?)", nearest))};
}

Result<Config> load_config(const Configured& configured) {
  const auto environment = Config::environment();
  auto file = configured.file;
  for (const auto& [name, value] : environment)
    if (file.empty() && name == "SHOAL_CONFIG") file = value;
  return Config::load(file, environment, configured.settings);
}

}  // namespace shoal::cli
