// The engine's way back: answers, retries, and how an operation lets go of what it lent. See
// docs/design/protocol.md, "Push: exactly once".

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "core/trace/trace.h"
#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// Failures that pass: the same request may succeed later, at the same server or another.
bool passes(Errc code) {
  switch (code) {
    case Errc::stale_view:
    case Errc::gap:
    case Errc::overloaded:
    case Errc::not_ready:
    case Errc::send_keys:
    case Errc::peer_lost:
    case Errc::revoked:
      return true;
    default:
      return false;
  }
}

/// How much a part's answer weighs in its run's. What may still pass outweighs what is done, burnt
/// or applied: the part's number is not taken yet, and the slot asks for it for ever.
int weight(Errc code) {
  if (code == Errc::ok) return 0;
  if (code == Errc::cancelled) return 1;
  return passes(code) ? 2 : 3;
}
bool is_done(Errc code) { return weight(code) < 2; }

/// Answers after which the slot will never ask for the run's sequence numbers again.
bool burning_is_pointless(Errc code) {
  return code == Errc::fenced || code == Errc::slot_lost || code == Errc::unknown_name;
}

constexpr Duration kRetryMin = std::chrono::milliseconds(1);
constexpr Duration kRetryMax = std::chrono::milliseconds(100);

}  // namespace

void Engine::on_answer(Server& server, const Incoming& incoming) {
  if (incoming.context >> 32 == 0)
    return on_directory(server, TableId(static_cast<std::uint32_t>(incoming.context)),
                        incoming.frame);
  auto* request = requests_.find(incoming.context);
  if (request == nullptr || request->id != incoming.id) return;  // it has ended meanwhile
  if (options_.trace == nullptr) return take_answer(server, *request, incoming);
  auto record = trace_record(*request);  // before it is another's
  record.what = TraceRecord::What::answer;
  record.status = static_cast<Errc>(incoming.frame.header.status);
  record.times[0] = options_.trace->now();
  take_answer(server, *request, incoming);
  record.times[1] = options_.trace->now();
  options_.trace->record(record);
}

void Engine::take_answer(Server& server, Request& request, const Incoming& incoming) {
  const auto index = static_cast<std::uint32_t>(incoming.context);
  const auto& frame = incoming.frame;
  const auto answer = parse_answer(frame);
  if (!answer.ok()) {
    // Not what a correct server sends. The request is repeated over a new connection.
    server.session->break_connection();
    return on_broken(server);
  }
  seen_global_clock_ = std::max(seen_global_clock_, frame.header.clock);
  if (seen_view_ && Epoch::unpacked(frame.header.epoch) <= seen_view_->epoch)
    applied_clock_ = std::max(applied_clock_, frame.header.clock);
  if (answer->prefix.holder.value != 0) holder_ = answer->prefix.holder;
  // The link has the view first, so that retry() need not ask for it; the engine follows it once
  // the answer is dealt with.
  SchedulerLink::Change change;
  if (static_cast<Errc>(frame.header.status) == Errc::stale_view)
    link_.offer_view(frame.header, answer->rest, change);
  if (request.kind == Request::Kind::pull)
    on_pull_answer(index, frame, *answer);
  else
    on_push_answer(index, frame.header, *answer);
  if (change.view) on_change(change);
}

void Engine::on_push_answer(std::uint32_t index, const FrameHeader& header,
                            const AnswerParts& answer) {
  auto& request = requests_[index];
  auto* op = request.operation == Request::kNone ? nullptr : &operations_[request.operation];
  const auto whole = static_cast<Errc>(header.status);
  std::size_t part = 0;
  std::size_t kept = 0;
  Errc passing = Errc::ok;
  Errc fatal = Errc::ok;
  for (std::size_t i = 0; i < request.runs.size(); ++i) {
    auto& run = request.runs[i];
    // The run's worst part decides: sending a done part again is harmless, losing one is not.
    Errc worst = answer.part_codes.empty() ? whole : Errc::ok;
    bool some_applied = false;
    for (std::uint32_t p = 0; p < run.part_count && !answer.part_codes.empty(); ++p, ++part) {
      const auto code = part < answer.part_codes.size() ? static_cast<Errc>(answer.part_codes[part])
                                                        : Errc::protocol;
      some_applied = some_applied || code == Errc::ok;
      run.burnt = run.burnt || code == Errc::cancelled;
      if (weight(code) > weight(worst)) worst = code;
    }
    if (is_done(worst)) {
      if (op == nullptr) continue;
      if (request.repeated) op->ambiguous = true;
      if (worst == Errc::ok || some_applied) ++op->runs_applied;
      if (worst == Errc::cancelled || run.burnt) ++op->runs_burnt;
      continue;
    }
    (passes(worst) ? passing : fatal) = worst;
    request.partly = request.partly || some_applied;
    if (!burning_is_pointless(worst))
      request.runs[kept++] = run;
    else if (op != nullptr)
      op->incomplete = op->ambiguous = true;
  }
  request.runs.resize(kept);
  if (fatal == Errc::ok) return kept == 0 ? end_request(index) : retry(index, passing, header);
  request.stage = Request::Stage::planned;
  request.id = RequestId{};
  if (op == nullptr || request.kind == Request::Kind::burn) {
    // A refusal, unlike a burn's own answer, does not wait for READs of what was to burn.
    if (auto* server = find_server(request.server); op != nullptr && server != nullptr) {
      server->session->break_connection();
      on_broken(*server);
    }
    if (kept == 0) return end_request(index);
    // Its sequence numbers must be taken, or the slot asks for them for ever; the loan is over.
    if (op != nullptr) {
      op->incomplete = op->ambiguous = true;
      detach(index);
    }
    retry(index, passing != Errc::ok ? passing : fatal, header);
    if (op != nullptr) finish_if_done(*op);
    return;
  }
  let_go(*op, fatal, why_refused(*op, request.server, fatal, answer));
}

void Engine::on_pull_answer(std::uint32_t index, const FrameView& frame,
                            const AnswerParts& answer) {
  auto& request = requests_[index];
  auto& op = operations_[request.operation];
  auto code = static_cast<Errc>(frame.header.status);
  for (const auto part : answer.part_codes)
    if (code == Errc::ok || (passes(code) && part != 0)) code = static_cast<Errc>(part);
  if (code == Errc::ok && request.eager && !copy_answer(request, op, frame.payload))
    code = Errc::protocol;
  if (code == Errc::ok) {
    op.completion.oldest = std::min(op.completion.oldest, answer.prefix.oldest);
    op.completion.newest = std::max(op.completion.newest, answer.prefix.newest);
    std::uint64_t rows = 0;
    for (const auto& run : request.runs) rows += run.row_count;
    bytes_pulled_.fetch_add(rows * op.table->row_bytes, std::memory_order_relaxed);
    return end_request(index);
  }
  if (request.stage == Request::Stage::letting_go) {
    op.incomplete = true;
    if (code == Errc::cancelled || code == Errc::timed_out) op.awaited = answer.prefix.holder;
    return end_request(index);
  }
  if (passes(code)) return retry(index, code, frame.header);
  const auto server = request.server;
  op.incomplete = true;
  if (code == Errc::timed_out) op.awaited = answer.prefix.holder;
  request.stage = Request::Stage::planned;  // answered: nothing is lent to the server
  request.id = RequestId{};
  bool lost = false;
  let_go(op, code,
         code == Errc::timed_out ? why_late(op, lost) : why_refused(op, server, code, answer));
}

/// The values of an eager answer stand in the order of the request's runs.
bool Engine::copy_answer(const Request& request, Operation& op,
                         std::span<const std::byte> payload) {
  const auto target = request.by_keys ? op.plan->values_memory() : op.target;
  for (const auto& run : request.runs) {
    const auto bytes = run.row_count * op.table->row_bytes;
    if (payload.size() < bytes) return false;
    std::memcpy(target.data + run.offset, payload.data(), bytes);
    payload = payload.subspan(bytes);
  }
  return payload.empty();
}

void Engine::retry(std::uint32_t index, Errc code, const FrameHeader& header) {
  Epoch wanted;
  auto delay = std::min(kRetryMax, kRetryMin * (1 << std::min(requests_[index].attempts, 7u)));
  if (code == Errc::stale_view) {
    wanted = Epoch::unpacked(header.epoch);
    link_.want_view(wanted);
    delay = kRetryMax;
  }
  wait_and_post_again(index, wanted, delay);
}

void Engine::release_request(std::uint32_t index) {
  auto& request = requests_[index];
  if (request.stage == Request::Stage::waiting) std::erase(waiting_, index);
  if (is_unsettled(request)) unsettled_.fetch_sub(1, std::memory_order_relaxed);
  forget_early(request);
  recheck_waiting_ = true;  // its credit is free
  if (request.kind != Request::Kind::pull) {
    end_push(request.clock, request.place);
    --find_table(request.table)->pushes;
  }
  requests_.release(index);
}

void Engine::end_request(std::uint32_t index) {
  const auto owner = requests_[index].operation;
  release_request(index);
  if (owner == Request::kNone) return finish_flushes();
  auto& op = operations_[owner];
  --op.requests_left;
  finish_if_done(op);
}

/// What is burnt of a push whose call has ended.
bool Engine::is_unsettled(const Request& request) {
  return request.kind == Request::Kind::burn && request.operation == Request::kNone &&
         request.place != FlushKeeper::kEndOfClock;
}

/// A burnt push goes on without its operation, whose loan has ended.
void Engine::detach(std::uint32_t index) {
  auto& request = requests_[index];
  auto& op = operations_[request.operation];
  request.operation = Request::kNone;
  --op.requests_left;
  unsettled_.fetch_add(1, std::memory_order_relaxed);
}

std::vector<std::uint32_t> Engine::requests_of(const Operation& op) {
  std::vector<std::uint32_t> found;
  const auto owner = index_of(op);
  for (std::uint32_t i = 0; i < requests_.size() && found.size() < op.requests_left; ++i)
    if (requests_[i].stage != Request::Stage::free && requests_[i].operation == owner)
      found.push_back(i);
  return found;
}

/// The operation is to end with `code`, once no peer can touch its memory: requests that were never
/// sent end at once, pulls are asked back, pushes burn. Bounded by `cancel_grace`.
void Engine::let_go(Operation& op, Errc code, std::string detail) {
  if (op.stage == Operation::Stage::letting_go) return;
  const bool was_blocked = op.stage == Operation::Stage::blocked;
  op.stage = Operation::Stage::letting_go;
  recheck_needs_tick_ = true;
  op.end_code = code;
  op.end_detail = std::move(detail);
  op.force_at = deadline_after(now_, options_.cancel_grace);
  next_expiry_ = std::min(next_expiry_, op.force_at);
  if (op.kind == OperationKind::control) return let_go_control(op);
  if (op.kind == OperationKind::flush) flushes_.close(index_of(op));
  if (was_blocked || op.holds_push) let_go_blocked(op);
  ++op.requests_left;  // our own hold, so that the operation does not end under the loop
  for (const auto index : requests_of(op)) {
    const auto& request = requests_[index];
    // A connection that breaks for one of them may end others.
    if (request.stage == Request::Stage::free || request.operation != index_of(op)) continue;
    if (request.kind == Request::Kind::pull)
      let_go_pull(index);
    else if (request.kind == Request::Kind::push)
      let_go_push(index);
  }
  --op.requests_left;
  finish_if_done(op);
}

/// It has no sequence numbers yet, so nothing has to burn; but a collective table counts on it.
void Engine::let_go_blocked(Operation& op) {
  const auto index = index_of(op);
  std::erase_if(blocked_, [&](const Blocked& b) { return b.operation == index; });
  op.incomplete = true;
  if (op.kind == OperationKind::pull || op.table == nullptr || !op.holds_push || op.store) return;
  auto* table = find_table(op.table->id);
  if (table == nullptr || table->info == nullptr || !table->collective() || fenced_) return;
  split_range(*table, op.rows, table->shape.push_bytes, op.rows.begin);
  plan_requests(nullptr, *table, Request::Kind::burn, op.clock, op.place);
  unsettled_.fetch_add(static_cast<std::uint32_t>(planned_.size()), std::memory_order_relaxed);
  for (const auto request : planned_)
    block({Request::kNone, request, op.table->id.value, op.clock, true, {}});
  planned_.clear();
}

/// Leaves of a push what has to be burnt: each slot that is not lost, even where the operation ends
/// because another one is, goes on to ask for its sequence numbers.
void Engine::drop_unburnable(Request& request) {
  const auto* table = find_table(request.table);
  if (fenced_ || table == nullptr || table->info == nullptr) return request.runs.clear();
  std::erase_if(request.runs, [&](const Run& run) { return table->chain(run.slot).lost(); });
}

void Engine::let_go_push(std::uint32_t index) {
  auto& request = requests_[index];
  auto& op = operations_[request.operation];
  const auto runs = request.runs.size();
  drop_unburnable(request);
  const bool dropped = request.runs.size() < runs;
  bool lent = false;
  Server* broken = nullptr;
  if (request.stage == Request::Stage::posted)
    if (auto* server = find_server(request.server)) {
      const bool sent = server->session->was_sent(request.id);
      lent = sent && server->session->open();
      server->session->withdraw(request.id);
      if (lent && dropped) {  // the burnt copy no longer speaks for all that the server may read
        server->session->break_connection();
        broken = server;
        lent = false;
      }
      // Without a connection the loan has ended, but the part may have been applied before.
      if (sent && !lent) op.ambiguous = true;
    }
  if (request.stage == Request::Stage::waiting) std::erase(waiting_, index);
  request.stage = Request::Stage::planned;
  if (broken != nullptr) on_broken(*broken);
  if (dropped) op.incomplete = true;
  if (!lent) {  // nobody waits for the answer, which would tell
    op.ambiguous = op.ambiguous || request.doubtful;
    op.runs_applied += request.partly ? 1 : 0;
  }
  if (request.runs.empty()) return end_request(index);
  request.kind = Request::Kind::burn;
  if (!lent) {
    op.runs_burnt += static_cast<std::uint32_t>(request.runs.size());
    detach(index);
  }
  post(index);
}

void Engine::let_go_pull(std::uint32_t index) {
  auto& request = requests_[index];
  auto& op = operations_[request.operation];
  auto* server = find_server(request.server);
  if (request.stage == Request::Stage::reading) return let_go_reading(index);
  if (request.stage == Request::Stage::posted && server != nullptr &&
      server->session->was_sent(request.id) && server->session->open()) {
    request.stage = Request::Stage::letting_go;
    FrameHeader header;
    header.kind = FrameKind::cancel;
    header.request = request.id;
    header.epoch = seen_view_->epoch.packed();
    header.table = request.table;
    (void)server->session->send_notice(header, {});  // if it is lost, force_end follows
    return;
  }
  if (request.stage == Request::Stage::posted && server != nullptr)
    server->session->withdraw(request.id);
  op.incomplete = true;
  end_request(index);
}

/// The grace is over: closing the connections ends the loan. Other operations on them are repeated.
void Engine::force_end(Operation& op) {
  op.force_at = kNever;
  if (op.kind == OperationKind::control) return end_control(op);
  ++op.requests_left;
  for (const auto index : requests_of(op)) {
    auto& request = requests_[index];
    if (request.stage == Request::Stage::free || request.operation != index_of(op)) continue;
    auto* server = find_server(request.server);
    const bool posted =
        request.stage == Request::Stage::posted || request.stage == Request::Stage::reading;
    if (server != nullptr && (posted || request.stage == Request::Stage::letting_go)) {
      server->session->break_connection();
      on_broken(*server);
      continue;
    }
    op.ambiguous = op.incomplete = true;
    if (request.kind == Request::Kind::burn && server != nullptr) {
      // It waits for its next try; what it burns may still be read.
      server->session->break_connection();
      on_broken(*server);
    }
    if (request.kind == Request::Kind::burn)
      detach(index);
    else
      end_request(index);
  }
  if (op.plan) {
    op.plan->keys_region.revoke();
    op.plan->values_region.revoke();
  }
  --op.requests_left;
  SHOAL_ASSERT(op.requests_left == 0, "a loan outlived its connections");
  finish_if_done(op);
}

/// The connection to `server` is gone, and with it every loan on it. The session repeats what is
/// unanswered; operations that only waited for their loan's end have it now.
void Engine::on_broken(Server& server) {
  by_endpoint_.erase(server.endpoint);
  for (std::uint32_t index = 0; index < requests_.size(); ++index) {
    auto& request = requests_[index];
    if (request.stage == Request::Stage::reading && request.server == server.id) {
      lose_reading(index);
      continue;
    }
    if (request.stage != Request::Stage::posted && request.stage != Request::Stage::letting_go)
      continue;
    if (request.server != server.id) continue;
    if (request.kind == Request::Kind::burn) request.repeated = true;
    if (request.kind == Request::Kind::push && server.session->was_sent(request.id))
      request.doubtful = true;
    if (request.operation == Request::kNone) continue;
    auto& op = operations_[request.operation];
    if (op.stage != Operation::Stage::letting_go) continue;
    op.incomplete = true;
    if (request.kind == Request::Kind::burn) {
      op.ambiguous = true;
      detach(index);
      finish_if_done(op);
    } else if (request.kind == Request::Kind::pull) {
      server.session->withdraw(request.id);
      end_request(index);
    }
  }
}

void Engine::end_letting_go(Operation& op) {
  auto code = op.end_code;
  const bool asked = code == Errc::cancelled || code == Errc::timed_out || code == Errc::peer_lost;
  const bool pushes = op.pushes();
  if (asked && (pushes || op.kind == OperationKind::pull)) {
    const bool all_there = !op.incomplete && !op.ambiguous && op.runs_burnt == 0;
    if (all_there) {  // the answers were on their way already
      op.stage = Operation::Stage::running;
      return finish_if_done(op);
    }
    if (code == Errc::timed_out && op.kind != OperationKind::push && op.started) {
      if (ask_for_straggler(op)) return;
      // By now it may be known who holds the clock back.
      if (bool lost = false; !op.ambiguous && op.need > seen_global_clock_)
        op.end_detail = why_late(op, lost);
    }
    if (pushes && code == Errc::cancelled) {
      if (op.ambiguous) {
        code = Errc::timed_out;
        op.end_detail =
            "cancelled, but nothing told whether it had been applied: at most once, perhaps";
      } else if (op.runs_applied > 0) {
        code = Errc::partly_applied;
        op.end_detail =
            fmt::format("cancelled after some of its rows had been applied: {} of {} runs",
                        op.runs_applied, op.runs_applied + op.runs_burnt);
      }
    }
  }
  finish(op, code, std::move(op.end_detail));
}

}  // namespace shoal
