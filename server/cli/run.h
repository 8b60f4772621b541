#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "server/cli/supervisor.h"

namespace shoal::cli {

/// Servers and workers together; one machine has hardly a use for more.
inline constexpr std::uint32_t kLocalProcessesMax = 1024;

/// A whole cluster on this machine, around one program.
struct RunOptions {
  std::uint32_t servers = 1;
  std::uint32_t workers = 1;
  std::vector<std::string> command;                   ///< of each worker
  std::vector<std::string> scheduler;                 ///< its command; `--announce FILE` is added
  std::vector<std::string> server;                    ///< the command of each server
  bool keep_going = false;                            ///< a failed process does not end the others
  Config::Settings settings;                          ///< for every process, as SHOAL_<NAME>
  Duration start_timeout = std::chrono::seconds(60);  ///< until the scheduler listens
  Supervisor::Options supervisor;
};

/// Starts a scheduler, the servers and the workers on the loopback interface with a random token,
/// and waits until all workers have ended. Every process finds what it needs in its environment:
/// SHOAL_SCHEDULER, SHOAL_TOKEN_FILE, SHOAL_LISTEN, SHOAL_SERVERS, SHOAL_WORKERS, SHOAL_NAME.
/// The first process that fails is reported with its last lines, and unless `keep_going` ends all.
/// Prints, once the scheduler listens, the command that watches the cluster.
/// A worker that has ended is told to the scheduler, so that nobody waits for its lease.
/// SIGINT, SIGTERM and SIGHUP are passed on to the workers; a second one, which is no echo of the
/// first, kills everything. SIGINT or SIGHUP that is ignored as this begins stays so (nohup).
/// Returns the exit code: 0, the first failure's, 128 + the signal that came, or 127 if a program
/// could not be started. No process and no file stays behind.
int run_local_cluster(const RunOptions& options, const Clock& clock);

}  // namespace shoal::cli
