// The engine's loop: what a turn does in which order, and how operations end.

#include "worker/engine/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "core/base/futex.h"
#include "core/memory/device.h"
#include "core/trace/trace.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// Events taken from the transport in one turn: enough that a burst of answers is one turn, few
/// enough that deadlines and calls are looked at often.
constexpr std::size_t kEventsPerTurn = 64;

/// Turns with events, one after the other, in which no timer is looked at: more than for which a
/// transport looks away from TCP, so that nobody is called silent who has just spoken.
constexpr int kHurriedMax = 32;

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
      flushes_(options_.operations_max),
      plans_(options_.plan_keys_min, options_.plan_bytes_max),
      regions_(transport_, options_.registration_bytes_max),
      reads_(transport),
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
    record->attachment = {};
    if (record->owned) give_back(record->memory);
    delete record;
  }
}

bool Engine::poll(TimePoint now) {
  owner_.check();
  now_ = now;
  turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  const auto event_count = transport_.poll(events_);
  for (std::size_t i = 0; i < event_count; ++i) dispatch(events_[i], now);
  // The next READ of three does not wait for the rest of the turn.
  if (std::exchange(read_posted_, false)) transport_.flush();
  bool busy = event_count > 0;
  // What has come is waited for; what is due waits for a turn in which nothing came, or some turns.
  if (!busy || ++hurried_ == kHurriedMax) {
    hurried_ = 0;
    regions_.sweep();
    busy |= link_.poll(now);
    for (auto& server : servers_) server->session->poll(now);
  }
  busy |= take_calls();
  recheck_waiting_ = recheck_waiting_ || busy;
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
  if (recheck_waiting_ && !waiting_.empty()) return now_;
  auto next = std::min({next_expiry_, waiting_until_, link_.next_timer(), transport_.next_timer()});
  for (const auto& server : servers_) next = std::min(next, server->session->next_timer());
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
      case Incoming::Kind::bulk:
        on_read_done(server, event);
        break;
      case Incoming::Kind::nothing:
        break;
    }
  };
  if (auto* const* known = by_endpoint_.find(event.endpoint); known != nullptr) {
    auto& server = **known;
    if (server.session->handle(event, now, incoming)) return deliver(server);
    by_endpoint_.erase(event.endpoint);
  }
  SchedulerLink::Change change;
  if (link_.handle(event, now, change)) return on_change(change);
  for (auto& server : servers_) {
    if (!server->session->handle(event, now, incoming)) continue;
    by_endpoint_.erase(server->endpoint);
    server->endpoint = event.endpoint;
    by_endpoint_[event.endpoint] = server.get();
    return deliver(*server);
  }
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

/// What holds the reported clock, and the flushes that come behind it.
void Engine::begin_push(WorkerClock clock, std::uint64_t place) {
  keeper_.begin_push(clock);
  flushes_.begin_push(clock, place);
}

void Engine::end_push(WorkerClock clock, std::uint64_t place) {
  const auto reported = keeper_.reported();
  keeper_.end_push(clock);
  flushes_.end_push(clock, place);
  // What window_is_closed() looks at.
  if (keeper_.reported() != reported) recheck_blocked_ = recheck_blocked_ || !blocked_.empty();
}

// ---- The end of operations.

std::uint32_t Engine::index_of(const Operation& op) const {
  return static_cast<std::uint32_t>(&op - &const_cast<OperationTable&>(operations_)[0]);
}

OperationId Engine::id_of(std::uint32_t index) { return {index, operations_[index].taken}; }

/// For loops in which one operation's end may be another's.
std::vector<OperationId> Engine::active_ids() {
  std::vector<OperationId> ids;
  ids.reserve(active_.size());
  for (const auto index : active_) ids.push_back(id_of(index));
  return ids;
}

/// Null: it has ended. Its place may then be another operation's already, which a user's thread is
/// about to hand over: nothing of that one but `taken` may be looked at.
Operation* Engine::find_operation(OperationId id) {
  auto& op = operations_[id.index];
  return id.valid() && op.taken == id.generation ? &op : nullptr;
}

void Engine::remove_active(std::uint32_t index) {
  const auto at = std::find(active_.begin(), active_.end(), index);
  SHOAL_ASSERT(at != active_.end(), "an operation finished twice");
  *at = active_.back();
  active_.pop_back();
}

std::size_t Engine::unfinished() const {
  const auto put_off = std::count_if(blocked_.begin(), blocked_.end(),
                                     [](const Blocked& blocked) { return blocked.empty_clocks(); });
  return active_.size() + requests_.live() + static_cast<std::size_t>(put_off);
}

/// The loan ends here: after this line nothing of the engine, the transport or a peer touches the
/// operation's memory.
void Engine::finish(Operation& op, Errc code, std::string detail) {
  const auto index = index_of(op);
  if (std::exchange(op.holds_push, false)) end_push(op.clock, op.place);
  // Any other end may have come without the word of a server that knows of the memory.
  regions_.end(op.source_loan, code == Errc::ok);
  regions_.end(op.target_loan, code == Errc::ok);
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
  op.times.answered = trace_time(options_.trace);
  const auto id = id_of(index);
  op.ended = std::exchange(op.taken, 0);
  if (code != Errc::ok) failures_.note(id, Error{code, op.detail}.message());
  for (const auto& blocked : blocked_)
    if (blocked.operation != Request::kNone) follow_ended(operations_[blocked.operation]);
  const bool detached = op.detached;
  set_phase(op, Operation::kDone);
  if (detached) release(id);
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
  while (const auto settled = flushes_.settled(keeper_.reported())) {
    flushes_.close(*settled);
    finish(operations_[*settled], Errc::ok, {});
  }
}

}  // namespace shoal
