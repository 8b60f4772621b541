#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/ops/rule_set.h"

// The bodies of the subcommands, one file each. Every one returns the program's exit code and has
// told the user on standard error why it is not 0.

namespace shoal::cli {

/// "shoal COMMAND: what went wrong" on standard error. Returns 1.
int fail(std::string_view command, const Error& error);

/// `shoal info`: version, transports and devices and why one is missing, update rules. With
/// `show_config` every option with its value, where that came from, and its meaning.
int show_info(const Config& config, const RuleSet& rules, bool show_config);

/// `shoal scheduler`: until a signal. `announce_file`, if not empty, gets its address.
int run_scheduler(const Config& config, const std::string& announce_file);

/// `shoal server`: until a signal, or until the cluster refuses it.
int run_server(const Config& config, const RuleSet& rules);

struct StatusOptions {
  bool watch = false;  ///< again every second, until a signal
  bool json = false;
};
/// `shoal status`: what the scheduler knows. A watch that has begun outlives the scheduler.
int show_status(const Config& config, const StatusOptions& options);

struct DropOptions {
  std::vector<std::string> tables;  ///< by name
  bool force = false;               ///< while there are workers, too
};
/// `shoal drop`: takes tables and their rows out of the cluster.
int drop_tables(const Config& config, const DropOptions& options);

/// What stands on the command line of `shoal perf`.
struct PerfArguments {
  std::string peer;  ///< HOST:PORT to measure against
  bool local = false;
  std::vector<std::string> ops = {"pull"};
  std::string transport;
  std::vector<std::string> sizes;
  bool all_sizes = false;
  std::uint32_t inflight = 0;
  std::int64_t iterations = 0;
  std::string duration = "500ms";
  std::string wait = "spin";
  bool bidirectional = false;
  bool check = false;
  bool json = false;
  std::string plot;
};
/// `shoal perf`: measures against a peer; with `listen` on the command line it is the peer, until a
/// signal.
int run_perf(const Config& config, const PerfArguments& arguments);

}  // namespace shoal::cli
