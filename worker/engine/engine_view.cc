// The engine and the scheduler: views, tables, fencing, and the user's requests to the scheduler.

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "core/trace/trace.h"
#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

/// Servers that are gone whose names are kept for messages.
constexpr std::size_t kGoneServersMax = 64;

NodeId server_for(const Request& request, const SlotChain& chain) {
  return request.kind == Request::Kind::pull ? chain.tail() : chain.head();
}

bool is_leave(const Operation& op) {
  return op.kind == OperationKind::control && op.control == FrameKind::leave;
}

}  // namespace

Engine::Server* Engine::find_server(NodeId id) {
  for (auto& server : servers_)
    if (server->id == id) return server.get();
  return nullptr;
}

Engine::Table* Engine::find_table(TableId id) {
  return id.value < tables_.size() ? tables_[id.value].get() : nullptr;
}

void Engine::on_change(const SchedulerLink::Change& change) {
  if (change.refused != Errc::ok) {
    refusal_ = Error{change.refused, change.why};
    if (link_.joined()) cut_off();
  }
  if (change.joined) {
    keeper_.start(link_.joined()->start);
    local_.store(link_.joined()->start.value, std::memory_order_release);
  }
  if (change.joined || change.view) on_view();
  if (change.global_clock) seen_global_clock_ = std::max(seen_global_clock_, link_.global_clock());
  applied_clock_ = std::max(applied_clock_, link_.global_clock());
  if (change.answered) on_control_answer(change.answer);
}

void Engine::on_view() {
  if (!link_.view() || (seen_view_ && link_.view()->epoch <= seen_view_->epoch)) return;
  seen_view_ = link_.view();
  roster_size_.store(static_cast<std::uint32_t>(seen_view_->roster.size()));
  follow_tables();
  follow_servers();
  if (options_.role == Role::worker && link_.joined() &&
      seen_view_->find_worker(link_.joined()->node) == nullptr)
    return cut_off();
  for (auto& server : servers_) server->session->set_epoch(seen_view_->epoch);
  reroute();
  for (const auto id : active_ids()) {
    auto* op = find_operation(id);
    if (op == nullptr) continue;
    if (op->opened_id.value != 0) {
      finish_opened(*op);
      continue;
    }
    if (op->table == nullptr) continue;
    const auto* table = find_table(op->table->id);
    if (table != nullptr && table->info != nullptr) continue;
    if (op->kind == OperationKind::control && op->control == FrameKind::drop_table)
      finish(*op, Errc::ok, {});  // It has happened; the answer comes behind the view.
    else
      let_go(*op, Errc::unknown_name, fmt::format("table '{}' was dropped", op->table->spec.name));
  }
}

/// This worker is in the roster no more: nothing of it will be applied, and it can only join anew.
void Engine::cut_off() {
  fenced_ = true;
  left_ = left_ || std::any_of(active_.begin(), active_.end(),
                               [&](auto index) { return is_leave(operations_[index]); });
  reroute();
  for (const auto id : active_ids()) {
    auto* op = find_operation(id);
    if (op == nullptr) continue;
    if (is_leave(*op))
      finish(*op, Errc::ok, {});  // It has happened; the answer comes behind the view.
    else
      let_go(*op, Errc::fenced, why_cut_off());
  }
}

void Engine::follow_servers() {
  for (const auto& node : seen_view_->nodes) {
    if (node.role != Role::server || find_server(node.id) != nullptr) continue;
    const auto address = Address::parse(node.address);
    if (!address.ok()) continue;  // the scheduler checks addresses at join
    Session::Options options;
    options.peer = *address;
    options.hello.node = link_.joined() ? link_.joined()->node : NodeId{};
    options.hello.incarnation = options_.incarnation;
    options.hello.role = options_.role;
    options.hello.expected = node.id;
    options.hello.expected_incarnation = node.incarnation;
    options.requests_max = options_.operations_max;
    options.connect_timeout = options_.connect_timeout;
    options.seed = options_.seed + node.id.value;
    auto server = std::make_unique<Server>();
    server->id = node.id;
    server->incarnation = node.incarnation;
    server->who = fmt::format("'{}' at {} (node {})", node.name, node.address, node.id.value);
    server->session = std::make_unique<Session>(transport_, options);
    servers_.push_back(std::move(server));
  }
  // Connections to servers that are no more end here; reroute() then finds their requests.
  const auto first_gone = std::stable_partition(
      servers_.begin(), servers_.end(),
      [&](const auto& server) { return seen_view_->find_node(server->id) != nullptr; });
  std::vector<std::unique_ptr<Server>> gone(std::make_move_iterator(first_gone),
                                            std::make_move_iterator(servers_.end()));
  servers_.erase(first_gone, servers_.end());
  for (auto& server : gone) {
    server->session->close();
    if (gone_servers_.size() == kGoneServersMax) gone_servers_.erase(gone_servers_.begin());
    gone_servers_.emplace_back(server->id, server->who);
    on_broken(*server);
  }
}

void Engine::follow_tables() {
  for (auto& table : tables_) {
    if (!table) continue;
    table->info = seen_view_->find_table(table->shape.id);
    if (table->info == nullptr) table->forget();
    table->asked.clear();
  }
  for (const auto& info : seen_view_->tables) {
    if (tables_.size() <= info.id.value) tables_.resize(info.id.value + 1);
    auto& table = tables_[info.id.value];
    if (!table) {
      table = std::make_unique<Table>(info);
      table->info = &info;
      if (options_.trace != nullptr) options_.trace->name_table(info.id, info.spec.name);
    }
    for (std::uint32_t slot = 0; slot < info.slots.size(); ++slot)
      if (!info.slots[slot].lost()) table->last_server[slot] = info.slots[slot].head();
    std::vector<std::uint32_t> order(info.slots.size());
    for (std::uint32_t slot = 0; slot < order.size(); ++slot) order[slot] = slot;
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      return info.slots[a].head() < info.slots[b].head();
    });
    std::vector<std::uint32_t> slot_rank(order.size());
    for (std::uint32_t rank = 0; rank < order.size(); ++rank) slot_rank[order[rank]] = rank;
    if (slot_rank == table->slot_rank) continue;
    table->slot_rank = std::move(slot_rank);
    plans_.forget();
  }
}

void Engine::reroute() {
  recheck_blocked_ = true;  // empty parts that were put off need their table
  const auto count = requests_.size();
  for (std::uint32_t index = 0; index < count; ++index)
    if (requests_[index].stage != Request::Stage::free) reroute(index);
}

/// Requests whose slots have other servers now leave the old one and follow; those whose slots are
/// lost end.
void Engine::reroute(std::uint32_t index) {
  auto& request = requests_[index];
  const auto* table = find_table(request.table);
  if (fenced_ || table == nullptr || table->info == nullptr) return forget(index);
  const auto lost = std::find_if(request.runs.begin(), request.runs.end(),
                                 [&](const Run& run) { return table->chain(run.slot).lost(); });
  const bool moved = std::any_of(request.runs.begin(), request.runs.end(), [&](const Run& run) {
    const auto& chain = table->chain(run.slot);
    return !chain.lost() && server_for(request, chain) != request.server;
  });
  const bool any_lost = lost != request.runs.end();
  if (!any_lost && !moved) return;
  // It only waits for its loan's end.
  if (request.stage == Request::Stage::letting_go) return;
  if (request.stage == Request::Stage::reading &&
      operations_[request.operation].stage == Operation::Stage::letting_go)
    return;
  const auto lost_slot = any_lost ? lost->slot : SlotIndex{};
  leave_server(index);
  if (request.stage == Request::Stage::waiting) std::erase(waiting_, index);
  if (request.stage != Request::Stage::planned) {
    request.stage = Request::Stage::planned;
    request.id = RequestId{};
  }
  if (any_lost && !lose_slot(index, *table, lost_slot)) return;
  divide(index, *table);
}

/// A request of a dropped table, or of a worker that is cut off. on_view ends the operations; what
/// was burnt of them already ends here.
void Engine::forget(std::uint32_t index) {
  auto& request = requests_[index];
  if (request.operation != Request::kNone && request.kind != Request::Kind::burn) return;
  leave_server(index);
  std::erase_if(blocked_, [&](const Blocked& b) { return b.request == index; });
  if (request.operation != Request::kNone) {
    auto& op = operations_[request.operation];
    op.incomplete = op.ambiguous = true;
  }
  end_request(index);
}

/// Runs of lost slots leave the request, and its operation ends. True: other runs are left, which
/// have to follow their servers.
bool Engine::lose_slot(std::uint32_t index, const Table& table, SlotIndex slot) {
  auto& request = requests_[index];
  if (request.operation != Request::kNone) {
    auto& op = operations_[request.operation];
    if (op.stage != Operation::Stage::letting_go) {
      const auto generation = request.generation;
      let_go(op, Errc::slot_lost, why_lost(table, slot));
      // What is burnt of it has no lost slots any more, but may have to follow the others.
      if (request.stage != Request::Stage::free && request.generation == generation) reroute(index);
      return false;
    }
    op.ambiguous = op.incomplete = true;
    detach(index);
    finish_if_done(op);
  }
  std::erase_if(request.runs, [&](const Run& run) { return table.chain(run.slot).lost(); });
  if (!request.runs.empty()) return true;
  std::erase_if(blocked_, [&](const Blocked& b) { return b.request == index; });
  end_request(index);
  return false;
}

/// One request goes on for each server; the first is this one.
void Engine::divide(std::uint32_t index, const Table& table) {
  const bool unsequenced = std::any_of(blocked_.begin(), blocked_.end(),
                                       [&](const Blocked& b) { return b.request == index; });
  const auto runs = std::exchange(requests_[index].runs, {});
  auto target = index;
  for (const auto& run : runs) {
    const auto server = server_for(requests_[index], table.chain(run.slot));
    if (!requests_[target].runs.empty() && requests_[target].server != server) {
      const auto next = another_like(index);
      const auto& request = requests_[next];
      if (unsequenced)
        block({Request::kNone, next, request.table.value, request.clock, true, {}});
      else if (target != index)
        post(target);
      target = next;
    }
    requests_[target].server = server;
    requests_[target].runs.push_back(run);
  }
  if (unsequenced) return;
  if (target != index) post(target);
  if (requests_[index].stage == Request::Stage::planned) post(index);
}

/// A request of the same operation, without runs.
std::uint32_t Engine::another_like(std::uint32_t index) {
  const auto made = requests_.acquire();
  const auto& from = requests_[index];
  auto& to = requests_[made];
  to.kind = from.kind;
  to.store = from.store;
  to.by_keys = from.by_keys;
  to.one_sided = from.one_sided;
  to.repeated = from.repeated;
  to.doubtful = from.doubtful;
  to.partly = from.partly;
  to.operation = from.operation;
  to.table = from.table;
  to.clock = from.clock;
  to.place = from.place;
  if (to.operation != Request::kNone) ++operations_[to.operation].requests_left;
  if (is_unsettled(to)) unsettled_.fetch_add(1, std::memory_order_relaxed);
  if (to.kind != Request::Kind::pull) {
    begin_push(to.clock, to.place);
    ++find_table(to.table)->pushes;
  }
  return made;
}

/// The request's server has nothing to do with it any more: no answer comes, and no loan is left.
void Engine::leave_server(std::uint32_t index) {
  auto& request = requests_[index];
  auto* server = find_server(request.server);
  forget_early(request);
  if (server == nullptr) return;
  // What an operation's burn stands for was sent, even if the burn was not.
  const bool burns = request.kind == Request::Kind::burn && request.operation != Request::kNone;
  if (request.stage == Request::Stage::reading) {
    server->session->break_connection();
    return on_broken(*server);
  }
  const bool posted = request.stage == Request::Stage::posted;
  if (!posted && !burns) return;
  const bool sent = burns || server->session->was_sent(request.id);
  const bool lent = sent && server->session->open();
  if (posted) server->session->withdraw(request.id);
  if (!lent || request.operation == Request::kNone) return;
  server->session->break_connection();
  on_broken(*server);
}

void Engine::on_stranger(Server& server, bool refused) {
  // Told once for each time it was lost; the scheduler looks for itself.
  if (refused && server.refusals++ > 0) return;
  link_.report_lost({server.id, server.incarnation});
}

void Engine::start_control(Operation& op) {
  op.stage = Operation::Stage::running;
  const auto context =
      (std::uint64_t{op.generation.load(std::memory_order_relaxed)} << 32) | index_of(op);
  const auto table = op.table == nullptr ? TableId{} : op.table->id;
  std::span<const std::byte> meta = op.control_meta;
  std::array<std::byte, kSmallMessageBytesMax> buffer;
  Writer out(buffer);
  if (op.control == FrameKind::barrier) {
    encode(out, Barrier{link_.joined()->node, ++barriers_});
    meta = out.written();
  }
  const auto sent = link_.request(op.control, table, meta, context, keeper_.local());
  if (!sent.ok()) return finish(op, sent.code(), sent.error().what);
  op.asked = *sent;
}

/// What the scheduler has not decided yet is taken back there: an arrival at a barrier, the opening
/// of a collective table. Its answer, or the end of the grace, ends the operation.
void Engine::let_go_control(Operation& op) {
  const bool wanted = op.end_code == Errc::timed_out || op.end_code == Errc::cancelled;
  if (op.asked.value != 0 && wanted && link_.cancel(op.asked)) return;
  end_control(op);
}

void Engine::end_control(Operation& op) {
  if (op.asked.value != 0) link_.abandon(op.asked);
  finish(op, op.end_code, std::move(op.end_detail));
}

void Engine::on_control_answer(const Incoming& answer) {
  const auto index = static_cast<std::uint32_t>(answer.context);
  const auto generation = static_cast<std::uint32_t>(answer.context >> 32);
  if (generation == 0) return on_straggler(NodeId(index), answer.frame);
  if (index >= operations_.capacity()) return;
  auto* const found = find_operation({index, generation});
  if (found == nullptr || found->kind != OperationKind::control) return;
  auto& op = *found;
  op.asked = RequestId{};
  const auto code = static_cast<Errc>(answer.frame.header.status);
  // A refusal carries its sentence as the payload; so does the status report.
  std::string text(reinterpret_cast<const char*>(answer.frame.payload.data()),
                   answer.frame.payload.size());
  if (op.stage == Operation::Stage::letting_go && code == Errc::cancelled)
    return finish(op, op.end_code,
                  std::move(op.end_code != code && !text.empty() ? text : op.end_detail));
  if (code != Errc::ok) return finish(op, code, std::move(text));
  if (op.control == FrameKind::leave) left_ = true;
  if (op.control != FrameKind::open_table) return finish(op, Errc::ok, std::move(text));
  op.opened_id = answer.frame.header.table;
  finish_opened(op);
}

void Engine::finish_opened(Operation& op) {
  auto* table = find_table(op.opened_id);
  if (table == nullptr || table->info == nullptr) {
    link_.want_view(seen_view_ ? Epoch{seen_view_->epoch.term, seen_view_->epoch.number + 1}
                               : Epoch{});
    return;  // on_view comes back to it
  }
  op.opened = &table->shape;
  finish(op, Errc::ok, {});
}

}  // namespace shoal
