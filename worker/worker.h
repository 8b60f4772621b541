#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "core/memory/dtype.h"
#include "core/ops/rules.h"
#include "worker/buffer.h"
#include "worker/one_sided_counts.h"
#include "worker/table.h"
#include "worker/ticket.h"

namespace shoal {

/// A member of the cluster that trains: the entrance to Shoal's API.
///
///     auto worker = shoal::Worker::connect(shoal::Config::from_env().value()).value();
///     auto w = worker.create_or_open<float>({.name = "weights", .rows = n,
///                                            .update = shoal::Sgd{.learning_rate = 0.1}}).value();
///     auto params = worker.allocate<float>(n).value();
///     w.pull({0, n}, params).wait().value();
///     w.push({0, n}, gradients).wait().value();
///     worker.tick();
///
/// With `progress = thread` (the default) a thread of its own moves the bytes, and any thread may
/// call anything. With `progress = caller` there is no such thread: bytes move inside wait(),
/// ready(), flush() and progress(), all called from one thread, for the lowest latency. Move-only;
/// the last of worker, tables, buffers and tickets to go closes the connection. It does not survive
/// fork(): in the child all calls fail with unavailable; connect there.
class Worker {
 public:
  /// Joins the cluster whose scheduler `config` names, as a worker or an observer. Returns when the
  /// first roster is complete. Errors: timed_out with the address tried and what stood in the way
  /// (nobody there, another token, who is missing), invalid_argument, version, io. The first call
  /// may load UCX, with variables of the environment set meanwhile: no thread should read it then.
  static Result<Worker> connect(const Config& config, Role role = Role::worker);
  Worker(Worker&&) noexcept;
  Worker& operator=(Worker&&) noexcept;
  ~Worker();

  /// Makes the table, or opens it if it is there with the same spec. T gives the dtype. A
  /// collective table is opened by all workers together, at equal clocks. Errors: mismatch naming
  /// the field, invalid_argument, timed_out.
  template <class T>
  Result<Table<T>> create_or_open(TableSpec spec) {
    spec.dtype = dtype_of<T>();
    SHOAL_ASSIGN(auto handle, open_table(spec));
    return Table<T>(core_, handle);
  }

  /// `count` values of T in registered memory, zeroed. Where peers may be reached over UCX it is
  /// shared memory: a child that is forked would share it, too. Errors: no_memory.
  template <class T>
  Result<Buffer<T>> allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T))
      return Error{Errc::no_memory, "a buffer of more bytes than can be addressed"};
    SHOAL_ASSIGN(auto memory, allocate_memory(count * sizeof(T)));
    return Buffer<T>(std::move(memory));
  }
  /// Registers memory of yours, which must outlive the handle. Operations on unregistered memory
  /// work too; they register it for the loan.
  Result<RegisteredMemory> register_memory(MemoryView memory);

  /// This worker finished an iteration: its clock goes up by one. Returns at once, however far
  /// ahead of the others that is: what bounds the lead are pulls, which wait, and pushes of rounds
  /// that a table does not take yet.
  void tick();
  WorkerClock clock() const;
  Rank rank() const;
  /// Workers in the roster now.
  std::uint32_t worker_count() const;

  /// Waits until every worker of the roster has come here, or left. Errors: timed_out, fenced.
  Status barrier(std::optional<Duration> timeout = std::nullopt);
  /// Waits until every push issued before has ended. If some failed whose tickets were dropped
  /// before anybody asked them, since the last flush, it is the error of the first, with their
  /// number; those that were cancelled do not count.
  Status flush(std::optional<Duration> timeout = std::nullopt);
  /// Flushes and leaves the roster, so that nobody waits for this worker's lease. The destructor
  /// leaves too, but does not wait long.
  Status leave();
  /// Drives the loop once: with `progress = caller`, for programs that compute for long between
  /// calls.
  void progress();

  struct Traffic {
    std::uint64_t bytes_pushed = 0;
    std::uint64_t bytes_pulled = 0;
  };
  Traffic traffic() const;
  /// What became of pulls that were to be one-sided.
  OneSidedCounts one_sided() const;
  /// Which path is used to each server and why, a line each. It is known once an operation with
  /// that server has ended; before that a line may say "connecting, no answer yet".
  std::string explain();

 private:
  friend class WorkerCore;
  explicit Worker(std::shared_ptr<WorkerCore> core) : core_(std::move(core)) {}
  Result<const TableShape*> open_table(const TableSpec& spec);
  Result<RegisteredMemory> allocate_memory(std::size_t bytes);

  std::shared_ptr<WorkerCore> core_;
};

}  // namespace shoal
