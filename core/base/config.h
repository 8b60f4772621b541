#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"

namespace shoal {

/// Everything that can be set, with its default. Values come from a TOML file, over them from the
/// environment (`SHOAL_<NAME>`), over them from the command line; `shoal info --config` prints each
/// with its meaning and where its value came from. A name nobody knows is an error, wherever it
/// stood.
struct Config {
  enum class Progress : std::uint8_t { thread, caller };

  // The cluster.
  std::string scheduler;   ///< host:port
  std::string token_file;  ///< what every process of the cluster knows; not world-readable
  std::string listen = "127.0.0.1:0";
  std::string name;
  std::string state_dir;
  std::uint32_t servers = 1;
  std::uint32_t workers = 1;
  std::string transports = "tcp";

  // Time.
  Duration join_timeout = std::chrono::seconds(60);
  Duration operation_timeout = std::chrono::seconds(30);
  Duration cancel_grace = std::chrono::milliseconds(500);
  Duration connect_timeout = std::chrono::seconds(5);
  Duration server_beat = std::chrono::milliseconds(250);
  Duration server_lease = std::chrono::seconds(2);
  Duration worker_beat = std::chrono::seconds(1);
  Duration worker_lease = std::chrono::seconds(10);
  Duration lost_after = std::chrono::seconds(30);
  std::int64_t straggler_limit = 0;

  // Workers.
  Progress progress = Progress::thread;
  Duration spin = std::chrono::microseconds(50);
  std::uint32_t operations_max = 4096;
  std::size_t eager_bytes_max = 16u << 10;

  // Servers.
  std::uint32_t credits = 64;
  std::uint32_t parked_quota = 256;
  std::size_t memory_budget = 0;
  std::size_t landing_bytes = 64u << 20;
  std::size_t copy_bytes = 64u << 20;
  std::string plugins;

  // People.
  std::string log_level = "info";

  /// From `SHOAL_CONFIG` (a file, if set) and the environment.
  static Result<Config> from_env();

  using Settings = std::vector<std::pair<std::string, std::string>>;
  /// `file`: path, empty for none. `environment`: all of it; only names that begin with SHOAL_ are
  /// looked at. `overrides`: option names with '_' or '-', as given on the command line. Errors:
  /// unknown_name (with the nearest name and where it stood), invalid_argument, io.
  static Result<Config> load(const std::string& file, const Settings& environment,
                             const Settings& overrides);
  /// The process's environment, for `load`.
  static Settings environment();

  /// One option, for `--help` and `shoal info --config`.
  struct Shown {
    std::string name, value, origin, meaning;
  };
  std::vector<Shown> show() const;

  /// Where each value that is not a default came from: "environment", "command line", "file:line".
  std::map<std::string, std::string, std::less<>> origins;
};

/// "250ms", "2s", "5min", "1h", "10us". A number without a unit is refused.
Result<Duration> parse_duration(std::string_view text);
std::string to_string(Duration duration);
/// "65536", "256KiB", "64MiB", "1GiB".
Result<std::size_t> parse_bytes(std::string_view text);
std::string bytes_to_string(std::size_t bytes);

/// Where this process's token comes from, for messages about one that does not match.
std::string token_source(const Config& config);
/// The cluster's token: the file's bytes without trailing white space. Errors: io, invalid_argument
/// for an empty file or one that others may read (says how to mend it).
Result<std::string> read_token(const std::string& path);

}  // namespace shoal
