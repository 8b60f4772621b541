#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "perf/bench/row.h"
#include "perf/raw/raw.h"
#include "worker/worker.h"

// The two sides of a row: a cluster of fresh processes, and raw sockets between two.

namespace shoal::perf {

struct ClusterSetup {
  Wait wait = Wait::block;  ///< of servers and workers
  Config::Progress progress = Config::Progress::caller;
  std::uint32_t workers = 1;
  std::string transports = "tcp";  ///< as the configuration's
  std::string ucx_tls = {};        ///< UCX_TLS of all processes; empty: as it is
};

/// What a worker process does; its number is what the row makes of.
using WorkerBody = std::function<Result<double>(Worker&, const Effort&)>;

/// Scheduler and one server in a process, each worker in one. The workers' numbers, by rank.
/// Errors: whatever went wrong first, with the process's name.
Result<std::vector<double>> run_cluster(const ClusterSetup& setup, const Effort& effort,
                                        const WorkerBody& body);

/// The same for one worker.
Result<double> run_worker(const ClusterSetup& setup, const Effort& effort, const WorkerBody& body);

/// One worker that watches the process of scheduler and server while it works.
using WatcherBody = std::function<Result<double>(Worker&, const Effort&, pid_t server)>;
Result<double> run_watcher(const ClusterSetup& setup, const Effort& effort,
                           const WatcherBody& body);

/// A number that a process of its own makes: memory is as fresh as in any other run.
Result<double> run_alone(const std::string& name, const std::function<Result<double>()>& body);

/// Two processes over plain sockets.
Result<Measured> run_raw(const RawPattern& pattern, const Effort& effort);
/// A pattern measured while another, on a connection and threads of its own, runs beside it between
/// the same two processes.
Result<Measured> run_raw_beside(const RawPattern& pattern, const RawPattern& load,
                                const Effort& effort);

/// Waits for an operation's end; an empty ticket has ended.
Status wait_for(Ticket& ticket);
inline Status wait_for(Ticket&& ticket) { return wait_for(ticket); }

inline constexpr std::size_t kWordBytes = 64;  // of a raw request or answer without rows
inline constexpr std::size_t kKiB = std::size_t{1} << 10;
inline constexpr std::size_t kMiB = std::size_t{1} << 20;
inline constexpr double kNsPerUs = 1e3;
inline constexpr double kGB = 1e9;

}  // namespace shoal::perf
