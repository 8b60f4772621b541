// What the engine tells people: who is meant, what is wrong, and what to do about it.

#include <fmt/core.h>

#include <algorithm>
#include <iterator>

#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

namespace {

std::string_view verb_of(const Operation& op) {
  if (op.store) return "store to";
  if (op.kind == OperationKind::push) return "push to";
  return op.kind == OperationKind::pull ? "pull of" : "push_pull of";
}

/// What a server's refusal means, and what to do, where the server has no words of its own.
std::string_view meaning_of(const Operation& op, Errc code) {
  if (code == Errc::no_memory)
    return "it has no memory left for the rows: raise memory_budget there, add servers, or drop "
           "tables that nobody needs";
  if (code != Errc::invalid_argument) return {};
  if (op.store) return "a per_clock or collective table takes store() before its first push only";
  if (op.table->spec.apply_mode() == Apply::collective && op.kind != OperationKind::pull)
    return "this worker has pushed some of these rows in this clock already; a collective table "
           "takes a row once between two ticks";
  return {};
}

}  // namespace

std::string Engine::name_of_server(NodeId id) const {
  for (const auto& server : servers_)
    if (server->id == id) return server->who;
  for (const auto& [node, who] : gone_servers_)
    if (node == id) return who;
  return fmt::format("node {}", id.value);
}

std::string Engine::why_lost(const Table& table, SlotIndex slot) const {
  const auto server = table.last_server[slot.value];
  return fmt::format(
      "table '{}': slot {} is lost, and its rows with it: its only server{} is gone, and does not "
      "bring them back if it is started again; drop the table, create it anew and fill it",
      table.shape.spec.name, slot.value,
      server.value == 0 ? " (before this worker joined)" : ", " + name_of_server(server) + ",");
}

std::string Engine::why_cut_off() const {
  if (left_) return "this worker has left the cluster; connect again to join as a new worker";
  if (refusal_) return refusal_->what;
  return "this worker is not in the cluster's roster any more: the scheduler heard nothing of it "
         "for a lease (worker_lease), or it fell behind by straggler_limit; connect again to join "
         "as a new worker";
}

/// The server's words, where it has any.
std::string Engine::why_refused(const Operation& op, NodeId server, Errc code,
                                const AnswerParts& answer) const {
  std::string_view words(reinterpret_cast<const char*>(answer.rest.data()), answer.rest.size());
  if (words.empty()) words = meaning_of(op, code);
  auto text = fmt::format("{} table '{}' was refused by server {}", verb_of(op),
                          op.table->spec.name, name_of_server(server));
  if (code == Errc::fenced) return fmt::format("{}: {}", text, why_cut_off());
  return words.empty() ? text : fmt::format("{}: {}", text, words);
}

/// Why a flush has not ended. A push whose call has failed counts until its server says that it was
/// applied or never will be.
std::string Engine::why_unsettled(const Operation& op) {
  const auto& flush = flushes_.of(index_of(op));
  auto text = fmt::format(
      "of {} pushes, those among them whose calls have failed, it is not settled yet whether they "
      "are applied",
      keeper_.unended_below(flush.clock) + flush.unended);
  const auto unsent = std::count_if(blocked_.begin(), blocked_.end(), [&](const Blocked& blocked) {
    if (!blocked.pushes || blocked.empty_clocks()) return false;
    const auto place = blocked.operation != Request::kNone ? operations_[blocked.operation].place
                                                           : requests_[blocked.request].place;
    return flush.waits_for(blocked.clock, place);
  });
  if (unsent > 0)
    text += fmt::format(
        "; {} were not sent: they wait for what they come after, or for workers that are behind",
        unsent);
  const auto ahead = std::find_if(blocked_.begin(), blocked_.end(), [&](const Blocked& blocked) {
    return blocked.empty_clocks() && blocked.clock < flush.clock;
  });
  if (ahead != blocked_.end())
    text += fmt::format("; ticks from clock {} on wait for workers that are behind",
                        ahead->clock.value);
  for (const auto& server : servers_) {
    std::uint64_t there = 0;
    for (std::uint32_t i = 0; i < requests_.size(); ++i) {
      const auto& request = requests_[i];
      const bool push = request.kind != Request::Kind::pull;
      there += request.stage != Request::Stage::free && push && request.server == server->id &&
               flush.waits_for(request.clock, request.place);
    }
    if (there > 0)
      text += fmt::format("; {} wait for server {} ({})", there, server->who,
                          server->session->explain());
  }
  return text;
}

/// The server that the operation waits for, and how long it has been silent.
std::string Engine::words_of_silence(const Operation& op) {
  for (const auto index : requests_of(op))
    if (const auto* server = find_server(requests_[index].server))
      return fmt::format("; it waits for server {} ({})", server->who, server->session->explain());
  return {};
}

std::string Engine::why_late(const Operation& op, bool& lost) {
  const auto verb = verb_of(op);
  const auto& name = op.table->spec.name;
  for (const auto index : requests_of(op)) {
    const auto* server = find_server(requests_[index].server);
    if (server != nullptr && server->session->open()) continue;
    lost = true;
    return fmt::format("{} table '{}': server {} does not answer ({})", verb, name,
                       name_of_server(requests_[index].server),
                       server == nullptr ? "not in the view" : server->session->explain());
  }
  const bool follows = std::any_of(std::begin(op.after), std::end(op.after),
                                   [](const OperationId& id) { return id.valid(); });
  const bool early = !follows && is_early(op);
  if (!op.started && !early)
    return fmt::format("{} table '{}' was not sent: what it comes after has not ended", verb, name);
  // Without the scheduler servers fall silent after a lease, and G stands still.
  const auto unreachable = link_.unreachable(now_);
  if (!early && (op.kind == OperationKind::push || op.need <= seen_global_clock_))
    return fmt::format("{} table '{}' did not finish in time{}{}{}", verb, name,
                       words_of_silence(op), unreachable.empty() ? "" : "; ", unreachable);
  const auto& spec = op.table->spec;
  const auto clock = early ? op.clock : op.use_clock;
  const auto need = early ? op.clock - (spec.window() - 1) : op.need;
  const bool clock_decides = early || spec.apply_mode() != Apply::collective;
  return fmt::format(
      "{} table '{}' at clock {} waits for every worker to finish the clocks below "
      "{}; the global clock is {}, {}",
      verb, name, clock.value, need.value, seen_global_clock_.value,
      clock_decides && !unreachable.empty() ? "and cannot rise: " + unreachable
                                            : "held back by " + held_back_by(op));
}

/// A push of a round that its table does not take yet.
bool Engine::is_early(const Operation& op) const {
  const auto& spec = op.table->spec;
  return op.kind != OperationKind::pull && spec.apply_mode() != Apply::on_arrival &&
         op.clock - seen_global_clock_ >= spec.window();
}

std::string Engine::held_back_by(const Operation& op) const {
  const bool known = op.straggler.worker.value != 0;
  const auto who = known ? op.straggler.worker : op.awaited.value != 0 ? op.awaited : holder_;
  const auto* entry = seen_view_->find_worker(who);
  // Without the scheduler's word: a server's may be older than this worker's own tick.
  const bool itself = link_.joined() && who == link_.joined()->node;
  if (entry == nullptr || (itself && !known)) return "a worker";
  const auto* node = seen_view_->find_node(who);
  auto text = itself ? std::string("this worker itself")
                     : fmt::format("worker {} ('{}', node {})", entry->rank.value,
                                   node == nullptr ? "" : node->name, who.value);
  if (!known) return text;
  const auto& straggler = op.straggler;
  text += fmt::format(", which is at clock {}", straggler.local.value);
  if (straggler.reported < straggler.local)
    text += fmt::format(" with pushes of clock {} that have not ended", straggler.reported.value);
  if (straggler.others > 0)
    text += fmt::format(", and {} other{}", straggler.others, straggler.others == 1 ? "" : "s");
  return text;
}

std::string Engine::explain() const {
  std::string text =
      fmt::format("scheduler {}: {}\n", options_.scheduler.to_string(), link_.explain());
  for (const auto& server : servers_)
    text += fmt::format("server {}: {}\n", server->who, server->session->explain());
  if (const auto kept = regions_.explain(); !kept.empty()) text += kept + '\n';
  if (const auto counts = reads_.counts(); counts.reads + counts.fell_back() != 0)
    text += words_of(counts);
  return text;
}

}  // namespace shoal
