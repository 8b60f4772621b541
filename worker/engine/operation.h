#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/ids.h"
#include "core/base/index_stack.h"
#include "core/base/result.h"
#include "core/cluster/messages.h"
#include "core/memory/memory_view.h"
#include "core/table/geometry.h"
#include "core/wire/frame.h"
#include "worker/engine/key_plan.h"
#include "worker/engine/memory_record.h"
#include "worker/engine/region_cache.h"

namespace shoal {

/// Names an operation: its place in the table, and which of the operations that have had this
/// place.
struct OperationId {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;  ///< 0: no operation
  bool valid() const { return generation != 0; }
  friend bool operator==(OperationId, OperationId) = default;
};

/// The clocks that the data of a finished pull held: every push of live workers from clocks below
/// `oldest` is in it; of clocks from `newest` on, nothing was folded (per_clock, collective).
struct Completion {
  WorkerClock oldest;
  WorkerClock newest;
};

enum class OperationKind : std::uint8_t {
  push,
  pull,
  push_pull,
  control,  ///< a request to the scheduler
  flush,    ///< done when every push that was issued before it has ended
  explain,  ///< `detail` becomes the engine's own account of itself
};

/// What every process agrees on about a table; never changes, lives as long as the engine.
struct TableShape {
  TableId id;
  TableSpec spec;
  Geometry geometry;
  std::size_t row_bytes;   ///< of a pulled row
  std::size_t push_bytes;  ///< of a pushed row: row_bytes x the rule's inputs
  std::size_t pushed_row_bytes(bool store) const { return store ? row_bytes : push_bytes; }
};

/// `need` of a pull from an unbounded table.
inline constexpr WorkerClock kNoNeed{std::numeric_limits<std::int64_t>::min()};

/// One call of the user's API, from its issue until its ticket is gone. The user's thread fills in
/// the first block and hands the operation to the engine; the engine owns it until `phase` says
/// done; then the results are the user's to read.
struct Operation {
  static constexpr std::size_t kAfterMax = 4;

  // What is asked: written before submit; later the loop changes `after` and `clock`.
  OperationKind kind = OperationKind::push;
  bool by_keys = false;
  bool store = false;
  const TableShape* table = nullptr;
  RowRange rows;
  std::span<const Key> keys;
  ConstMemoryView source;
  MemoryView target;
  MemoryRecord* source_memory = nullptr;
  MemoryRecord* target_memory = nullptr;
  OperationId after[kAfterMax] = {};  ///< the engine clears those that have ended
  std::int64_t ahead = 0;             ///< pulls
  bool one_sided = false;             ///< pulls: READ the rows, where that can be
  WorkerClock clock;                  ///< the worker's clock at the call, or the loop's if later
  WorkerClock use_clock;              ///< pulls: u
  WorkerClock need;  ///< pulls: u - s; admitted when G or the version is at least this.
                     ///< kNoNeed: unbounded
  TimePoint deadline = kNever;
  FrameKind control = FrameKind::barrier;
  std::vector<std::byte> control_meta;

  // The handshake between threads.
  enum Phase : std::uint32_t {
    kFree = 0,
    kPending = 1,
    kDone = 2,
    kNeedsTick = 3,  ///< pending, and only this worker's own tick can admit it: pulls
  };
  /// All that a waiter waits for is in this word, on which it sleeps: no change of it is missed.
  std::atomic<std::uint32_t> phase{kFree};
  std::atomic<std::uint32_t> sleepers{0};  ///< threads in futex_wait on `phase`
  std::atomic<bool> cancel_asked{false};
  std::atomic<std::uint32_t> generation{0};

  // Results: written by the engine before `phase` becomes kDone.
  Errc code = Errc::ok;
  std::string detail;  ///< of a failure, for a person; empty when ok
  Completion completion;
  const TableShape* opened = nullptr;  ///< control: open_table
  bool seen = false;                   ///< the user's: was told how it ended

  /// When it came to what, if somebody traces: by the caller, the loop, the loop, the caller.
  struct Times {
    TimePoint issued{}, sent{}, answered{}, polled{};
  } times;

  // The engine's own.
  enum class Stage : std::uint8_t { blocked, running, letting_go };
  Stage stage = Stage::blocked;
  std::uint32_t taken = 0;     ///< the generation that the loop has taken in and not ended yet
  bool started = false;        ///< has left Stage::blocked by being sent
  bool detached = false;       ///< its ticket is gone
  std::uint64_t place = 0;     ///< pushes: in the order of issue
  bool holds_push = false;     ///< counts as an unended push of its clock, before it has requests
  std::string follows_failed;  ///< why an operation of `after` failed; empty: none did
  std::uint64_t walk = 0;      ///< the last of Engine::tick_before that came here
  std::uint32_t ended = 0;     ///< the generation that ended last at this place
  std::uint32_t requests_left = 0;
  std::uint32_t runs_applied = 0;  ///< runs of a push that were applied, and
  std::uint32_t runs_burnt = 0;    ///< that were not and never will be
  bool ambiguous = false;          ///< of some runs nobody can say whether they were applied
  bool incomplete = false;         ///< some request ended without its answer
  Errc end_code = Errc::ok;        ///< letting_go: how it will end, and
  std::string end_detail;          ///< why
  TimePoint force_at = kNever;     ///< letting_go: when the loan is ended by force
  NodeId awaited;                  ///< pulls that time out: for whom, as the server said;
  bool asks_scheduler = false;     ///< it is asked where that worker is, and
  Straggler straggler;             ///< has answered, if this names one
  RequestId asked;                 ///< control: the request to the scheduler, until its answer
  TableId opened_id;               ///< control: open_table, until the view that has it is here
  RegionCache::Loan source_loan, target_loan;  ///< of memory that the user did not register
  std::unique_ptr<KeyPlan> plan;  ///< key lists: grouped keys and values; KeyPlans has it otherwise

  /// Something is sent, by a push, a store or a push_pull.
  bool pushes() const { return kind == OperationKind::push || kind == OperationKind::push_pull; }
};

/// All operations of a worker, made at start: issuing one allocates nothing.
class OperationTable {
 public:
  explicit OperationTable(std::uint32_t capacity)
      : operations_(std::make_unique<Operation[]>(capacity)),
        capacity_(capacity),
        free_(capacity) {}
  /// Any thread. Null: all are in use (Errc::overloaded).
  Operation* acquire(OperationId& id) {
    std::uint32_t index = 0;
    if (!free_.pop(index)) return nullptr;
    auto& op = operations_[index];
    auto generation = op.generation.load(std::memory_order_relaxed) + 1;
    if (generation == 0) generation = 1;
    op.generation.store(generation, std::memory_order_relaxed);
    id = {index, generation};
    op.phase.store(Operation::kPending, std::memory_order_release);
    return &op;
  }
  /// Any thread, once the operation is done and its ticket gone.
  void release(OperationId id) {
    auto& op = operations_[id.index];
    SHOAL_ASSERT(op.generation.load(std::memory_order_relaxed) == id.generation, "released twice");
    op.phase.store(Operation::kFree, std::memory_order_release);
    free_.push(id.index);
  }
  Operation& operator[](std::uint32_t index) { return operations_[index]; }
  std::uint32_t capacity() const { return capacity_; }

 private:
  std::unique_ptr<Operation[]> operations_;
  std::uint32_t capacity_;
  IndexStack free_;
};

}  // namespace shoal
