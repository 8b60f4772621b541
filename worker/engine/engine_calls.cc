// The hand-over between threads: calls of the user's API go in through a queue, and the loop takes
// them.

#include <fmt/core.h>

#include <algorithm>
#include <thread>

#include "core/base/futex.h"
#include "core/memory/device.h"
#include "core/trace/trace.h"
#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// Clocks that a pull may look ahead: beyond any use, and no sum of clocks overflows.
constexpr std::int64_t kAheadMax = std::int64_t{1} << 32;

}  // namespace

// ---- Any thread.

bool Engine::done(OperationId id) {
  return operation(id).phase.load(std::memory_order_acquire) == Operation::kDone;
}

Result<OperationId> Engine::submit(Ask&& ask) {
  const bool pushes = ask.kind == OperationKind::push || ask.kind == OperationKind::push_pull;
  if (options_.role == Role::observer && pushes)
    return Error{Errc::invalid_argument,
                 fmt::format("push to table '{}': an observer only pulls; connect as a worker",
                             ask.table->spec.name)};
  if (ask.ahead < 0 || ask.ahead > kAheadMax)
    return Error{
        Errc::invalid_argument,
        fmt::format("ahead = {}: a pull is for use 0 to {} ticks from now", ask.ahead, kAheadMax)};
  if (pushes && unsettled_.load(std::memory_order_relaxed) >= options_.operations_max)
    return Error{Errc::overloaded,
                 fmt::format("of {} failed pushes or more it is not settled yet whether they are "
                             "applied: flush() waits for that, and says what it waits for",
                             options_.operations_max)};
  OperationId id;
  auto* op = operations_.acquire(id);
  if (op == nullptr)
    return Error{
        Errc::overloaded,
        fmt::format("{} operations are unfinished or have live tickets, which is the most: "
                    "wait for some, or raise operations_max",
                    operations_.capacity())};
  op->kind = ask.kind;
  op->table = ask.table;
  op->by_keys = ask.by_keys;
  op->store = ask.store;
  op->rows = ask.rows;
  op->keys = ask.keys;
  op->source = ask.source;
  op->target = ask.target;
  op->source_memory = ask.source_memory;
  op->target_memory = ask.target_memory;
  op->deadline = ask.deadline;
  op->control = ask.control;
  op->control_meta = std::move(ask.control_meta);
  std::fill(std::begin(op->after), std::end(op->after), OperationId{});
  std::copy_n(ask.after.begin(), std::min(ask.after.size(), Operation::kAfterMax), op->after);
  op->ahead = ask.ahead;
  op->one_sided = ask.one_sided;
  set_clock(*op, clock());
  op->code = Errc::ok;
  op->detail.clear();
  op->seen = false;
  op->completion = {};
  op->opened = nullptr;
  op->cancel_asked.store(false, std::memory_order_relaxed);
  op->times = {.issued = trace_time(options_.trace)};
  if (ask.source_memory != nullptr) ask.source_memory->uses.fetch_add(1);
  if (ask.target_memory != nullptr) ask.target_memory->uses.fetch_add(1);
  hand({Call::Kind::submit, id.generation, id.index, nullptr});
  return id;
}

/// The clock that the call belongs to, and what its pull is for and needs.
void Engine::set_clock(Operation& op, WorkerClock clock) const {
  op.clock = clock;
  if (op.kind != OperationKind::pull && op.kind != OperationKind::push_pull) return;
  const auto& spec = op.table->spec;
  const bool own_round =
      op.kind == OperationKind::push_pull && spec.apply_mode() == Apply::collective;
  op.use_clock = clock + op.ahead + (own_round ? 1 : 0);
  const bool any = spec.staleness == unbounded || options_.role == Role::observer;
  op.need = any ? kNoNeed : op.use_clock - spec.staleness;
}

void Engine::cancel(OperationId id) {
  if (operation(id).cancel_asked.exchange(true)) return;
  hand({Call::Kind::cancel, id.generation, id.index, nullptr});
}

bool Engine::drop(OperationId id) {
  if (done(id)) {
    release(id);
    return true;
  }
  hand({Call::Kind::drop, id.generation, id.index, nullptr});
  return false;
}

/// The place of an operation that is done and whose ticket is gone.
void Engine::release(OperationId id) {
  const auto& op = operation(id);
  if (op.pushes() && op.code != Errc::ok && !op.seen) unseen_.note({op.code, op.detail});
  if (options_.trace != nullptr) trace_life(id, op);
  operations_.release(id);
}

void Engine::tick() {
  local_.fetch_add(1, std::memory_order_acq_rel);
  wake();
}

MemoryRecord* Engine::add_memory(MemoryView memory, bool owned) {
  auto record = std::make_unique<MemoryRecord>();
  record->memory = memory;
  record->owned = owned;
  hand({Call::Kind::add_memory, 0, 0, record.get()});
  return record.release();
}

void Engine::remove_memory(MemoryRecord* record) {
  hand({Call::Kind::remove_memory, 0, 0, record});
}

Engine::Traffic Engine::traffic() const {
  return {bytes_pushed_.load(std::memory_order_relaxed),
          bytes_pulled_.load(std::memory_order_relaxed)};
}

void Engine::hand(const Call& call) {
  // Operations are bounded by their table, so only a flood of registrations can fill the queue; the
  // loop empties it at every turn.
  while (!calls_.push(call)) std::this_thread::yield();
  wake();
}

void Engine::wake() { wake_(); }

// ---- The loop.

bool Engine::take_calls() {
  // The clock first: every push of an earlier clock is then already in the queue, though perhaps
  // behind one that another thread is about to write.
  const auto clock_now = clock();
  const auto handed = calls_.pushed();
  if (handed == calls_.popped() && clock_now == keeper_.local()) return false;
  bool any = false;
  Call call;
  while (calls_.pop(call)) {
    any = true;
    switch (call.kind) {
      case Call::Kind::submit:
        accept(call.operation);
        break;
      case Call::Kind::cancel:
        if (auto* op = find_operation({call.operation, call.generation}))
          let_go(*op, Errc::cancelled, "cancelled by its caller");
        break;
      case Call::Kind::drop:
        if (auto* op = find_operation({call.operation, call.generation}))
          op->detached = true;
        else
          release({call.operation, call.generation});
        break;
      case Call::Kind::add_memory:
        memory_.push_back(call.memory);
        break;
      case Call::Kind::remove_memory:
        call.memory->released = true;
        free_memory_if_unused(call.memory);
        break;
    }
  }
  if (clock_now > keeper_.local() && calls_.popped() >= handed) {
    advance_clock(clock_now);
    any = true;
  }
  return any;
}

void Engine::accept(std::uint32_t index) {
  auto& op = operations_[index];
  if (op.clock > keeper_.local()) advance_clock(op.clock);
  // A tick of another thread may have overtaken the call on its way here; the clock that it ended
  // is then complete without this call, empty parts and all.
  if (op.clock < keeper_.local()) set_clock(op, keeper_.local());
  op.taken = op.generation.load(std::memory_order_relaxed);
  op.stage = Operation::Stage::blocked;
  op.started = op.detached = op.ambiguous = op.incomplete = false;
  op.end_code = Errc::ok;
  op.opened_id = TableId{};
  op.asked = RequestId{};
  op.awaited = NodeId{};
  op.asks_scheduler = false;
  op.straggler = {};
  op.follows_failed.clear();
  follow_ended(op);
  op.requests_left = op.runs_applied = op.runs_burnt = 0;
  op.force_at = kNever;
  active_.push_back(index);
  next_expiry_ = std::min(next_expiry_, op.deadline);
  const bool pushes = op.pushes();
  if (pushes) {
    op.place = flushes_.next_place();
    begin_push(op.clock, op.place);
    op.holds_push = true;
    auto* table = find_table(op.table->id);
    if (table != nullptr && table->info != nullptr && table->collective() && !op.store)
      note_contribution(*table, op.rows);
  }
  if (op.kind == OperationKind::control) return start_control(op);
  if (op.kind == OperationKind::explain) return finish(op, Errc::ok, explain());
  if (op.kind == OperationKind::flush) {
    op.stage = Operation::Stage::running;
    flushes_.open(index, op.clock, keeper_.unended_at(op.clock));
    return finish_flushes();
  }
  if (pushes)
    if (const auto need = tick_before(op))
      return let_go(op, Errc::needs_tick,
                    fmt::format("a push at clock {} comes after a pull that needs clock {}: call "
                                "tick() between them",
                                op.clock.value, need->value));
  recheck_needs_tick_ = true;
  const Blocked entry{index, Request::kNone, op.table->id.value, op.clock, pushes, {}};
  // Most pulls wait for nobody, and are waited for.
  if (op.kind == OperationKind::pull && blocked_.empty())
    if (Error failed{Errc::ok, {}, 0}; may_start(entry, 0, failed)) return start(op);
  block(entry);
}

// As Worker::allocate_memory had it.
void Engine::give_back(MemoryView memory) {
  if (!transport_.deallocate_shared(memory)) HostDevice().deallocate(memory);
}

void Engine::free_memory_if_unused(MemoryRecord* record) {
  if (!record->released || record->uses.load() != 0) return;
  const auto at = std::find(memory_.begin(), memory_.end(), record);
  if (at == memory_.end()) return;
  *at = memory_.back();
  memory_.pop_back();
  record->region.revoke();
  record->attachment = {};
  if (record->owned) {
    give_back(record->memory);
    delete record;
  } else {
    // The handle waits for this word and frees the record itself.
    record->gone.store(1, std::memory_order_seq_cst);
    futex_wake_all(record->gone);
  }
}

}  // namespace shoal
