#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "server/scheduler/scheduler.h"
#include "server/server.h"
#include "tests/simulation/model.h"
#include "tests/simulation/worker_process.h"
#include "transport/scheduler_link.h"
#include "transport/sim/driver.h"
#include "transport/sim/sim.h"

namespace shoal::simulation {

/// Deliberate faults of the code under test: the proof that the search can find any.
struct Mutation {
  bool report_clock_early = false;    ///< a worker reports a clock before its pushes have ended
  bool join_at_global_clock = false;  ///< the scheduler lets late joiners start at G, not G + W
  bool forget_last = false;           ///< a server forgets which pushes it has applied
  bool read_unchecked = false;        ///< a one-sided pull takes whatever it READ
};

/// What one run found. Empty `violations`: every invariant held.
struct Outcome {
  std::uint64_t seed = 0;
  std::vector<std::string> violations;
  std::uint64_t events = 0;
  std::uint64_t pushes_applied = 0;
  std::uint64_t pulls_answered = 0;
  std::uint64_t shares_read = 0;     ///< of one-sided pulls
  std::uint64_t segments_again = 0;  ///< READ once more, as they had changed
  std::uint64_t trace_hash = 0;
};

/// A whole cluster on a simulated network under one seed: scheduler, servers, workers and their
/// hearts, with random work and random faults. Runs to its end in the constructor's `run()`.
class Cluster {
 public:
  Cluster(std::uint64_t seed, const Mutation& mutation, bool verbose = false);
  ~Cluster();
  Outcome run();

 private:
  /// A process and its heartbeat, which die and stop together.
  struct Machine {
    SimNodeId node, heart_node;
    std::unique_ptr<Transport> transport, heart_transport;
    std::unique_ptr<Heart> heart;
    std::atomic<std::uint64_t> turns{0};
    bool up = false;
  };
  struct ServerMachine : Machine {
    std::unique_ptr<Server> server;
    std::uint64_t generation = 0;
  };
  struct WorkerMachine : Machine {
    std::unique_ptr<WorkerProcess> process;
    bool crashed = false;
  };

  void make_tables();
  void start_scheduler();
  void start_server(std::size_t index);
  void start_worker(int rounds, Job job = Job::train);
  void stop_watcher();
  void stop_for(const Machine& machine, Duration time);
  void start_hearts();
  void count_reads(WorkerMachine& machine);
  void crash_worker(std::size_t index);
  void crash_server(std::size_t index);
  void restart_scheduler();
  void plan_faults();
  void one_fault();
  bool formed() const;
  void end_faults();
  void check_invariants();
  void follow_roster();
  void check_ended();
  void check_rows();
  void say(const std::string& what);
  void say_who_works();
  void broken(std::string what);
  bool all_finished() const;

  std::uint64_t seed_;
  Mutation mutation_;
  bool verbose_;
  Random random_;
  SimNetwork network_;
  SimDriver driver_;
  Ledger ledger_;
  MemoryViewStore store_;
  SimNodeId scheduler_node_;
  std::unique_ptr<Transport> scheduler_transport_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<ServerMachine>> servers_;
  std::vector<std::unique_ptr<WorkerMachine>> workers_;
  Epoch epoch_seen_;
  std::vector<WorkerClock> server_clock_seen_;
  WorkerClock clock_seen_{0};
  std::uint32_t expected_workers_ = 1;
  std::uint64_t shares_read_ = 0, segments_again_ = 0;
};

/// Runs one seed from its beginning to its end.
Outcome run_seed(std::uint64_t seed, const Mutation& mutation = {}, bool verbose = false);

}  // namespace shoal::simulation
