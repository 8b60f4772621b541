#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/device_name.h"
#include "core/base/name_filter.h"
#include "core/base/result.h"

namespace shoal {

/// Everything that can be set, with its default. Values come from a TOML file, over them from the
/// environment (`SHOAL_<NAME>`), over them from the command line; `shoal info --config` prints each
/// with its meaning and where its value came from. A name nobody knows is an error, wherever it
/// stood.
struct Config {
  enum class Progress : std::uint8_t { thread, caller };
  enum class Require : std::uint8_t { nothing, rdma };

  // The cluster.
  std::string scheduler;               ///< host:port of the scheduler; needed by all but it
  std::string token_file;              ///< what every process of the cluster knows; not for others
  std::string listen = "127.0.0.1:0";  ///< host:port of scheduler and servers; port 0: a free one
  std::string name;                    ///< of this process, for people; empty: by role and number
  std::string state_dir;               ///< of the scheduler, to be taken up by another; empty: none
  std::uint32_t servers = 1;           ///< that the cluster waits for at its start; 0 to 8192
  std::uint32_t workers = 1;           ///< that the first roster waits for; 0 to 8192
  std::string transports = "verbs,ucx,tcp";  ///< as parse_transports() reads it
  Require require = Require::nothing;        ///< of every connection between workers and servers
  NameFilter devices{NameFilter::Kind::devices};        ///< of RDMA, to use; empty: all
  NameFilter interfaces{NameFilter::Kind::interfaces};  ///< under RoCE devices; empty: all
  std::uint32_t rails = 4;                   ///< RDMA ports that a connection of ours uses at most
  std::size_t bulk_turn_bytes = 512u << 10;  ///< moved before messages are served; 4 KiB to 16 MiB

  // Time: 1 ms to 720 h where nothing else is said.
  Duration join_timeout = std::chrono::seconds(60);  ///< until the cluster is complete
  Duration operation_timeout =
      std::chrono::seconds(30);  ///< of an operation that names none; 1 us on
  Duration cancel_grace = std::chrono::milliseconds(500);  ///< of a loan beyond its deadline
  Duration connect_timeout = std::chrono::seconds(5);      ///< of one try; of an answer to a tool
  Duration server_beat = std::chrono::milliseconds(250);   ///< between a server's heartbeats
  Duration server_lease = std::chrono::seconds(2);         ///< at least twice server_beat
  Duration worker_beat = std::chrono::seconds(1);          ///< between a worker's heartbeats
  Duration worker_lease = std::chrono::seconds(10);        ///< at least twice worker_beat
  Duration lost_after = std::chrono::seconds(30);          ///< of silence a server's rows are lost
  std::int64_t straggler_limit = 0;                        ///< clocks behind the fastest; 0: none

  // Workers.
  Progress progress = Progress::thread;           ///< who moves a worker's bytes
  Duration spin = std::chrono::microseconds(50);  ///< of polling before a sleep; 0 to 1 s
  std::uint32_t operations_max = 4096;            ///< unfinished at a time; 1 to 2^20
  std::size_t eager_bytes_max = 16u << 10;        ///< that travel inside a message; at most 64 KiB
  std::size_t worker_list_bytes = 256u << 20;     ///< for key lists that repeat; 0 to 1 TiB

  std::size_t registration_cache_bytes =
      std::size_t{4} << 30;  ///< of lent memory that stays registered; 0 to 1 TiB

  // Servers.
  DeviceName device;                                 ///< where tables are, and update rules run
  std::uint32_t credits = 64;                        ///< unanswered requests of a worker; 2 to 4096
  std::uint32_t parked_quota = 256;                  ///< waiting requests of a worker; 0 to 65536
  std::size_t memory_budget = std::size_t{8} << 30;  ///< bytes for tables and copies; 1 MiB on
  std::size_t landing_bytes = 64u << 20;             ///< for arriving pushes; 6 MiB to 1 TiB
  std::size_t copy_bytes = 64u << 20;                ///< for copies on write; 1 MiB to 1 TiB
  std::size_t server_list_bytes = 64u << 20;         ///< for key lists that repeat; 0 to 1 TiB
  std::string plugins;                               ///< shared objects, separated by commas

  // People.
  std::string trace;  ///< FILE: each node's operations in FILE.NAME.PID.json; empty: none
  std::string log_level = "info";  ///< trace, debug, info, warn, error or off

  /// From `SHOAL_CONFIG` (a file, if set) and the environment.
  static Result<Config> from_env();

  using Settings = std::vector<std::pair<std::string, std::string>>;
  /// `file`: path, empty for none. `environment`: all of it; only names that begin with SHOAL_ are
  /// looked at. `overrides`: option names with '_' or '-', as given on the command line. Errors:
  /// unknown_name (with the nearest name and where it stood), invalid_argument, io.
  static Result<Config> load(const std::string& file, const Settings& environment,
                             const Settings& overrides);
  /// As `load`, with a file's text instead of a file; `path` is what messages call it.
  static Result<Config> parse(std::string_view toml, const std::string& path,
                              const Settings& environment, const Settings& overrides);
  /// The process's environment, for `load`.
  static Settings environment();

  /// One option, for `--help` and `shoal info --config`.
  struct Shown {
    std::string name, value, origin, meaning;
    std::string takes;  ///< the kind of its values: TIME, SIZE, N, HOST:PORT, FILE, ...
    std::string range;  ///< "1ms to 720h"; empty: any
  };
  std::vector<Shown> show() const;

  /// Where each value that is not a default came from: "environment", "command line", "file:line".
  std::map<std::string, std::string, std::less<>> origins;
};

/// "verbs,tcp": names of transports, separated by commas, best first, each once in the result, and
/// known whether or not this build has them. Errors: invalid_argument (what is none).
Result<std::vector<std::string>> parse_transports(std::string_view list);
/// That `transports` is such a list, and has what `require` asks for. Config::load sees to it; to
/// be asked by who changes either. Errors: invalid_argument.
Status check_transports(const Config& config);

/// "250ms", "2s", "5min", "1h", "10us". A number without a unit is refused.
Result<Duration> parse_duration(std::string_view text);
std::string to_string(Duration duration);
/// "65536", "256KiB", "64MiB", "1GiB".
Result<std::size_t> parse_bytes(std::string_view text);
std::string bytes_to_string(std::size_t bytes);

}  // namespace shoal
