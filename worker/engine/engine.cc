#include "worker/engine/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/futex.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// Events taken from the transport in one turn: enough that a burst of answers is one turn, few
/// enough that deadlines and calls are looked at often.
constexpr std::size_t kEventsPerTurn = 64;

/// Clocks that a pull may look ahead: beyond any use, and no sum of clocks overflows.
constexpr std::int64_t kAheadMax = std::int64_t{1} << 32;

SchedulerLink::Options link_options(const Engine::Options& options) {
  SchedulerLink::Options link;
  link.scheduler = options.scheduler;
  link.silence = options.silence;
  link.connect_timeout = options.connect_timeout;
  link.seed = options.seed;
  link.token_source = options.token_source;
  link.join.role = options.role;
  link.join.incarnation = options.incarnation;
  link.join.name = options.name;
  return link;
}

}  // namespace

Engine::Engine(Transport& transport, const Clock& clock, Options options)
    : transport_(transport),
      clock_(clock),
      options_(std::move(options)),
      link_(transport, link_options(options_)),
      operations_(options_.operations_max),
      // An operation is submitted, cancelled and dropped at most once each; the rest is for memory.
      calls_(std::size_t{options_.operations_max} * 4),
      plans_(options_.plan_keys_min, options_.plan_bytes_max),
      events_(kEventsPerTurn) {
  SHOAL_ASSERT(
      options_.eager_bytes_max <= kEagerBytesMax && options_.answer_bytes_max <= kEagerBytesMax,
      "servers refuse such requests");
  keeper_.start(WorkerClock(0));
  active_.reserve(options_.operations_max);
  blocked_.reserve(options_.operations_max);
}

Engine::~Engine() {
  // Tickets and buffers keep the engine alive, so no operation is anybody's now. Regions end before
  // their transport does.
  for (auto& server : servers_) server->session->close();
  for (auto* record : memory_) {
    record->region.revoke();
    if (record->owned) std::free(record->memory.data);
    delete record;
  }
}

// ---- Any thread.

bool Engine::done(OperationId id) {
  return operation(id).phase.load(std::memory_order_acquire) == Operation::kDone;
}

Result<OperationId> Engine::submit(Ask ask) {
  if (options_.role == Role::observer &&
      (ask.kind == OperationKind::push || ask.kind == OperationKind::push_pull))
    return Error{Errc::invalid_argument,
                 fmt::format("push to table '{}': an observer only pulls; connect as a worker",
                             ask.table->spec.name)};
  if (ask.ahead < 0 || ask.ahead > kAheadMax)
    return Error{
        Errc::invalid_argument,
        fmt::format("ahead = {}: a pull is for use 0 to {} ticks from now", ask.ahead, kAheadMax)};
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
  op->clock = clock();
  op->code = Errc::ok;
  op->detail.clear();
  op->completion = {};
  op->opened = nullptr;
  op->cancel_asked.store(false, std::memory_order_relaxed);
  if (ask.kind == OperationKind::pull || ask.kind == OperationKind::push_pull) {
    const auto& spec = ask.table->spec;
    const bool own_round =
        ask.kind == OperationKind::push_pull && spec.apply_mode() == Apply::collective;
    op->use_clock = op->clock + ask.ahead + (own_round ? 1 : 0);
    op->need = spec.staleness == unbounded || options_.role == Role::observer
                   ? kNoNeed
                   : op->use_clock - spec.staleness;
  }
  if (ask.source_memory != nullptr) ask.source_memory->uses.fetch_add(1);
  if (ask.target_memory != nullptr) ask.target_memory->uses.fetch_add(1);
  hand({Call::Kind::submit, id.generation, id.index, nullptr});
  return id;
}

void Engine::cancel(OperationId id) {
  if (operation(id).cancel_asked.exchange(true)) return;
  hand({Call::Kind::cancel, id.generation, id.index, nullptr});
}

bool Engine::drop(OperationId id) {
  if (done(id)) {
    operations_.release(id);
    return true;
  }
  hand({Call::Kind::drop, id.generation, id.index, nullptr});
  return false;
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

bool Engine::poll(TimePoint now) {
  owner_.check();
  now_ = now;
  turns_.fetch_add(1, std::memory_order_relaxed);
  const auto event_count = transport_.poll(events_);
  for (std::size_t i = 0; i < event_count; ++i) dispatch(events_[i], now);
  bool busy = event_count > 0;
  busy |= take_calls();
  busy |= link_.poll(now);
  for (auto& server : servers_) server->session->poll(now);
  busy |= start_unblocked();
  refresh_needs_tick();
  busy |= post_waiting(now);
  expire(now);
  report_clock();
  transport_.flush();
  return busy;
}

void Engine::take_calls(TimePoint now) {
  owner_.check();
  now_ = now;
  take_calls();
  start_unblocked();
  refresh_needs_tick();
  report_clock();
  transport_.flush();
}

TimePoint Engine::next_timer() const {
  auto next = std::min({next_expiry_, link_.next_timer(), transport_.next_timer()});
  for (const auto& server : servers_) next = std::min(next, server->session->next_timer());
  for (const auto index : waiting_)
    next = std::min(next, const_cast<RequestTable&>(requests_)[index].again);
  return next;
}

void Engine::dispatch(const Event& event, TimePoint now) {
  Incoming incoming;
  const auto deliver = [&](Server& server) {
    switch (incoming.kind) {
      case Incoming::Kind::answer:
        on_answer(server, incoming);
        break;
      case Incoming::Kind::notice:
        seen_global_clock_ = std::max(seen_global_clock_, incoming.frame.header.clock);
        break;
      case Incoming::Kind::broken:
        on_broken(server);
        break;
      case Incoming::Kind::opened:
        server.refusals = 0;
        break;
      case Incoming::Kind::stranger:
        on_stranger(server, false);
        break;
      case Incoming::Kind::refused:
        on_stranger(server, true);
        break;
      case Incoming::Kind::nothing:
      case Incoming::Kind::bulk:
        break;
    }
  };
  if (const auto known = by_endpoint_.find(event.endpoint); known != by_endpoint_.end()) {
    auto& server = *known->second;
    if (server.session->handle(event, now, incoming)) return deliver(server);
    by_endpoint_.erase(known);
  }
  SchedulerLink::Change change;
  if (link_.handle(event, now, change)) return on_change(change);
  for (auto& server : servers_) {
    if (!server->session->handle(event, now, incoming)) continue;
    by_endpoint_.erase(server->endpoint);
    server->endpoint = event.endpoint;
    by_endpoint_.emplace(event.endpoint, server.get());
    return deliver(*server);
  }
}

bool Engine::take_calls() {
  // The clock first: every push of an earlier clock is then already in the queue, though perhaps
  // behind one that another thread is about to write.
  const auto clock_now = clock();
  const auto handed = calls_.pushed();
  bool any = false;
  Call call;
  while (calls_.pop(call)) {
    any = true;
    auto& op = operations_[call.operation];
    switch (call.kind) {
      case Call::Kind::submit:
        accept(call.operation);
        break;
      case Call::Kind::cancel:
        if (op.generation.load(std::memory_order_relaxed) == call.generation && op.pending())
          let_go(op, Errc::cancelled, "cancelled by its caller");
        break;
      case Call::Kind::drop:
        if (op.phase.load(std::memory_order_relaxed) == Operation::kDone)
          operations_.release({call.operation, call.generation});
        else
          op.detached = true;
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
  op.clock = std::max(op.clock, keeper_.local());
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
  const bool pushes = op.kind == OperationKind::push || op.kind == OperationKind::push_pull;
  if (pushes) {
    keeper_.begin_push(op.clock);
    op.holds_push = true;
    auto* table = find_table(op.table->id);
    if (table != nullptr && table->collective() && !op.store) note_contribution(*table, op.rows);
  }
  if (op.kind == OperationKind::control) return start_control(op);
  if (op.kind == OperationKind::explain) return finish(op, Errc::ok, explain());
  if (op.kind == OperationKind::flush) {
    op.stage = Operation::Stage::running;
    ++flushes_;
    return finish_flushes();
  }
  blocked_.push_back({index, Request::kNone, op.table->id.value, op.clock, pushes});
  recheck_blocked_ = recheck_needs_tick_ = true;
}

/// Whether the blocked entry at `position` may be sent: its dependencies have ended, and no push of
/// an earlier clock to its table still waits for its sequence numbers.
bool Engine::may_start(const Blocked& blocked, std::size_t position, Error& failed) {
  if (blocked.operation != Request::kNone) {
    const auto& op = operations_[blocked.operation];
    if (!op.follows_failed.empty()) {
      failed = Error{Errc::cancelled,
                     fmt::format("the operation that it follows failed: {}", op.follows_failed)};
      return false;
    }
    for (const auto& id : op.after) {
      if (!id.valid()) continue;
      const auto& other = operations_[id.index];
      // Only this worker's own tick could end it, and that tick waits for this push.
      if (blocked.pushes && other.kind == OperationKind::pull && other.need > op.clock)
        failed = Error{Errc::needs_tick,
                       fmt::format("a push at clock {} follows a pull that needs clock {}: call "
                                   "tick() between them",
                                   op.clock.value, other.need.value)};
      return false;
    }
  }
  if (blocked.pushes)
    for (std::size_t i = 0; i < position; ++i)
      if (blocked_[i].pushes && blocked_[i].table == blocked.table &&
          blocked_[i].clock < blocked.clock)
        return false;
  return true;
}

/// Takes from `after` what has ended, and keeps why it failed. Looked at when the operation is
/// taken in and at each end of another: later the place may be another operation's.
void Engine::follow_ended(Operation& op) {
  for (auto& id : op.after) {
    if (!id.valid()) continue;
    const auto& other = operations_[id.index];
    if (other.ended == id.generation && op.follows_failed.empty())
      op.follows_failed = other.ended_why;
    const auto now_there = other.generation.load(std::memory_order_relaxed);
    if (other.ended == id.generation || now_there != id.generation) id = OperationId{};
  }
}

bool Engine::start_unblocked() {
  bool any = false;
  // Finishing or failing one may unblock another, earlier or later in the list.
  while (std::exchange(recheck_blocked_, false)) {
    for (std::size_t i = 0; i < blocked_.size();) {
      const auto blocked = blocked_[i];
      Error failed{Errc::ok, {}, 0};
      const bool start_now = may_start(blocked, i, failed);
      if (!start_now && failed.code == Errc::ok) {
        ++i;
        continue;
      }
      blocked_.erase(blocked_.begin() + static_cast<std::ptrdiff_t>(i));
      any = recheck_blocked_ = true;
      if (blocked.operation == Request::kNone) {
        assign_sequences(requests_[blocked.request]);
        post(blocked.request);
      } else if (start_now) {
        start(operations_[blocked.operation]);
      } else {
        let_go(operations_[blocked.operation], failed.code, std::move(failed.what));
      }
    }
  }
  return any;
}

void Engine::advance_clock(WorkerClock to) {
  while (keeper_.local() < to) {
    const auto ending = keeper_.local();
    complete_contributions(ending);
    keeper_.tick();
  }
  recheck_needs_tick_ = true;
}

void Engine::report_clock() {
  if (!link_.joined() || options_.role != Role::worker) return;
  const auto reported = options_.faults.report_clock_early ? keeper_.local() : keeper_.reported();
  if (reported == told_.reported && keeper_.local() == told_.local && told_.node.value != 0) return;
  told_ = {link_.joined()->node, reported, keeper_.local(),
           bytes_pushed_.load(std::memory_order_relaxed),
           bytes_pulled_.load(std::memory_order_relaxed)};
  link_.tick(told_);
}

void Engine::expire(TimePoint now) {
  if (now < next_expiry_) return;
  next_expiry_ = kNever;
  ended_.clear();
  for (const auto index : active_) {
    const auto& op = operations_[index];
    const auto due = op.stage == Operation::Stage::letting_go ? op.force_at : op.deadline;
    if (due <= now)
      ended_.push_back(index);
    else
      next_expiry_ = std::min(next_expiry_, due);
  }
  for (const auto index : ended_) {
    auto& op = operations_[index];
    if (!op.pending()) continue;
    if (op.stage == Operation::Stage::letting_go)
      force_end(op);
    else
      expire(op);
  }
}

std::uint32_t Engine::index_of(const Operation& op) const {
  return static_cast<std::uint32_t>(&op - &const_cast<OperationTable&>(operations_)[0]);
}

void Engine::remove_active(std::uint32_t index) {
  const auto at = std::find(active_.begin(), active_.end(), index);
  SHOAL_ASSERT(at != active_.end(), "an operation finished twice");
  *at = active_.back();
  active_.pop_back();
}

/// The loan ends here: after this line nothing of the engine, the transport or a peer touches the
/// operation's memory.
void Engine::finish(Operation& op, Errc code, std::string detail) {
  const auto index = index_of(op);
  if (std::exchange(op.holds_push, false)) keeper_.end_push(op.clock);
  op.source_region.revoke();
  op.target_region.revoke();
  if (op.plan) plans_.give(std::move(op.plan));
  remove_active(index);
  recheck_blocked_ = recheck_blocked_ || !blocked_.empty();
  for (auto* record : {op.source_memory, op.target_memory})
    if (record != nullptr) {
      record->uses.fetch_sub(1);
      free_memory_if_unused(record);
    }
  op.code = code;
  op.detail = std::move(detail);
  const OperationId id{index, op.generation.load(std::memory_order_relaxed)};
  op.ended = id.generation;
  op.ended_why = code == Errc::ok ? std::string() : Error{code, op.detail}.message();
  for (const auto& blocked : blocked_)
    if (blocked.operation != Request::kNone) follow_ended(operations_[blocked.operation]);
  const bool detached = op.detached;
  set_phase(op, Operation::kDone);
  if (detached) operations_.release(id);
  finish_flushes();
}

/// Wakes whoever sleeps on the word. Those that are about to sleep counted themselves before they
/// compare it, so one of both sees the other.
void Engine::set_phase(Operation& op, Operation::Phase phase) {
  op.phase.store(phase, std::memory_order_seq_cst);
  if (op.sleepers.load(std::memory_order_seq_cst) != 0) futex_wake_all(op.phase);
}

void Engine::finish_if_done(Operation& op) {
  if (op.requests_left > 0) return;
  if (op.stage == Operation::Stage::letting_go) return end_letting_go(op);
  if (op.by_keys && op.kind != OperationKind::push)
    op.plan->scatter(op.target, op.table->row_bytes);
  finish(op, Errc::ok, {});
}

void Engine::finish_flushes() {
  if (flushes_ == 0 || keeper_.unended() != 0) return;
  for (std::size_t i = 0; i < active_.size();) {
    auto& op = operations_[active_[i]];
    if (op.kind == OperationKind::flush && op.pending()) {
      --flushes_;
      finish(op, Errc::ok, {});
      i = 0;
    } else
      ++i;
  }
}

void Engine::free_memory_if_unused(MemoryRecord* record) {
  if (!record->released || record->uses.load() != 0) return;
  const auto at = std::find(memory_.begin(), memory_.end(), record);
  if (at == memory_.end()) return;
  *at = memory_.back();
  memory_.pop_back();
  record->region.revoke();
  if (record->owned) {
    std::free(record->memory.data);
    delete record;
  } else {
    // The handle waits for this word and frees the record itself.
    record->gone.store(1, std::memory_order_seq_cst);
    futex_wake_all(record->gone);
  }
}

}  // namespace shoal
