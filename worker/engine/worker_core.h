#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/fork.h"
#include "core/base/result.h"
#include "core/trace/trace.h"
#include "transport/loop.h"
#include "transport/scheduler_link.h"
#include "transport/transport.h"
#include "worker/engine/engine.h"
#include "worker/table.h"
#include "worker/ticket.h"

namespace shoal {

/// What a Worker and all its tables, buffers and tickets share: the engine, its transport, and the
/// threads that drive them. The edge at which there is a clock and blocking.
class WorkerCore : public std::enable_shared_from_this<WorkerCore> {
 public:
  struct Settings {
    Duration spin = std::chrono::microseconds(50);
    Duration operation_timeout = std::chrono::seconds(30);
    Duration join_timeout = std::chrono::seconds(60);
  };
  static Result<std::shared_ptr<WorkerCore>> create(const Config& config, Role role);
  ~WorkerCore();

  Result<Ticket> issue(Engine::Ask&& ask, const After& after, std::optional<Duration> timeout,
                       bool borrows, bool writes);
  /// Blocks until the operation is done. Errc::not_ready at `moment`, needs_tick as Ticket::wait.
  Result<PullInfo> wait(OperationId id, TimePoint moment);
  bool ready(OperationId id);
  /// Blocks until the operation's loan has ended; pulls are cancelled first.
  void end_loan(OperationId id, bool cancel_first);
  /// Runs a request to the scheduler to its end.
  Result<OperationId> control(FrameKind kind, const TableShape* table, std::vector<std::byte> meta,
                              std::optional<Duration> timeout);
  Status control_status(FrameKind kind, const TableShape* table, std::vector<std::byte> meta,
                        std::optional<Duration> timeout);
  MemoryRecord* add_memory(MemoryView memory, bool owned);
  void remove_memory(MemoryRecord* record, bool owned);
  /// The ticket is gone.
  void drop(OperationId id);
  /// Caller-driven: polls the loop once.
  void progress();
  /// Caller-driven: sends what was asked for, without looking for events.
  void take_calls();
  Status flush(std::optional<Duration> timeout);
  std::string explain();

  Engine& engine() { return *engine_; }
  const Joined& joined() const { return joined_; }
  TimePoint deadline(std::optional<Duration> timeout) const;
  Status leave();

 private:
  WorkerCore() = default;
  Status join();
  Status settle(std::optional<Duration> timeout);
  /// This is a child of the process that connected: no thread of its is here.
  bool forked() const { return fork_generation() != forks_; }
  static Error of_the_parent();
  /// A thread of its own drives the loop; else whoever calls does, also while there is none yet.
  bool threaded() const { return loop_ != nullptr; }
  /// Blocks a little: until the operation's phase may be another than `seen`, or `moment`.
  void block(Operation& op, std::uint32_t seen, TimePoint moment, TimePoint& spin_until);

  const std::uint32_t forks_ = fork_generation();
  SteadyClock clock_;
  Settings settings_;
  std::unique_ptr<Trace> trace_;  ///< null: nobody traces
  std::unique_ptr<Transport> transport_, heart_transport_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Heart> heart_;
  std::unique_ptr<LoopThread> heart_loop_, loop_;
  Joined joined_;
  std::atomic<bool> left_{false};  ///< out of the roster, as the scheduler confirmed
};

}  // namespace shoal
