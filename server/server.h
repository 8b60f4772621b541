#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "core/memory/device.h"
#include "core/ops/rule_set.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "transport/loop.h"
#include "transport/scheduler_link.h"

namespace shoal {

class Trace;

/// A parameter server: holds the slots that views give to it, takes pushes and answers pulls.
/// Protocol logic only: messages and the time go in, messages come out; LoopThread or the
/// simulation runs it. Belongs to one loop. See docs/design/protocol.md, docs/design/consistency.md
/// and docs/design/snapshots.md.
class Server final : public Pollable {
 public:
  struct Options {
    /// join.role is server; join.address is where workers reach us; create() fills in what join
    /// says of rules and memory.
    SchedulerLink::Options link;
    ServerLimits limits;
    ServerFaults faults;     ///< tests only
    Trace* trace = nullptr;  ///< outlives the server; null: nobody traces
    /// If rows are on a GPU: host memory that it reaches, which rows pass through. Outlives the
    /// server.
    Device* pinned = nullptr;
  };

  /// The transport must listen at options.link.join.address already. `device` is where rows live
  /// and rules run: the host, or a GPU, for which `rules` have their form; it, `transport` and
  /// `rules` must outlive the server. Errors: no_memory, invalid_argument (limits that cannot work,
  /// rules that cannot be told).
  static Result<std::unique_ptr<Server>> create(Transport& transport, Device& device,
                                                const RuleSet& rules, Options options);
  ~Server() override;

  bool poll(TimePoint now) override;
  TimePoint next_timer() const override;
  Transport& transport() override;
  /// The next thread that polls owns the loop; none does now.
  void release_loop();

  /// Tells the scheduler that this server goes: its slots are lost at once, and the log says that
  /// it left. Repeated while the scheduler is away.
  void leave();
  /// The scheduler knows, or never knew of us.
  bool left() const;

  /// Turns of the loop so far: heartbeats carry it. Any thread.
  const std::atomic<std::uint64_t>& turns() const;
  /// Who we are in the cluster, once the scheduler has said; NodeId 0 before.
  NodeId node() const;
  const SchedulerLink& link() const;
  /// Not ok: the scheduler refused us for good, or the device that has the rows failed, with the
  /// reason; the process may end.
  const Status& status() const;
  const ServerMetrics& metrics() const;
  /// Bytes of the budget that tables use.
  std::uint64_t memory_used() const;

  /// For tests and invariant checks.
  class Shard& shard();

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace shoal
