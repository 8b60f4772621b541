// Operations that come to their deadlines, and what they say of it. A pull that waits for another
// worker names it: servers know who held G back when it last rose, the scheduler knows who does
// now, so it is asked while the pull lets go. One question serves all pulls of this worker.

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

void Engine::expire(Operation& op) {
  if (op.kind == OperationKind::control)
    return let_go(op, Errc::timed_out,
                  fmt::format("the scheduler {} did not answer in time: {}",
                              options_.scheduler.to_string(), link_.explain()));
  if (op.kind == OperationKind::flush)
    return let_go(op, Errc::timed_out, fmt::format("{} pushes have not ended", keeper_.unended()));
  bool lost = false;
  auto why = why_late(op, lost);
  let_go(op, lost ? Errc::peer_lost : Errc::timed_out, std::move(why));
}

std::string Engine::why_late(const Operation& op, bool& lost) {
  const auto verb = op.kind == OperationKind::push ? "push to" : "pull of";
  const auto& name = op.table->spec.name;
  for (const auto index : requests_of(op)) {
    const auto* server = find_server(requests_[index].server);
    if (server != nullptr && server->session->open()) continue;
    lost = true;
    return fmt::format("{} table '{}': server {} does not answer ({})", verb, name,
                       requests_[index].server.value,
                       server == nullptr ? "not in the view" : server->session->explain());
  }
  if (!op.started)
    return fmt::format("{} table '{}' was not sent: what it comes after has not ended", verb, name);
  if (op.kind == OperationKind::push || op.need <= seen_global_clock_)
    return fmt::format("{} table '{}' did not finish in time", verb, name);
  return fmt::format(
      "{} table '{}' at clock {} waits for every worker to finish the clocks below "
      "{}; the global clock is {}, held back by {}",
      verb, name, op.use_clock.value, op.need.value, seen_global_clock_.value, held_back_by(op));
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

/// True: the scheduler's answer, or the end of the grace, ends the operation.
bool Engine::ask_for_straggler(Operation& op) {
  const bool late = op.force_at == kNever;
  if (late || op.need <= seen_global_clock_ || !link_.in_touch(now_)) return false;
  const auto* table = find_table(op.table->id);
  if (table == nullptr || table->info == nullptr) return false;
  // A round of a collective table waits for contributions, of which only its servers know.
  if (!table->collective()) op.awaited = NodeId{};
  if (std::find(questions_.begin(), questions_.end(), op.awaited) == questions_.end()) {
    std::array<std::byte, kSmallMessageBytesMax> buffer;
    Writer out(buffer);
    encode(out, Straggler{op.awaited, {}, {}, 0});
    // Contexts of operations have a generation above these 32 bits.
    if (!link_.request(FrameKind::straggler, {}, out.written(), op.awaited.value).ok())
      return false;
    questions_.push_back(op.awaited);
  }
  op.asks_scheduler = true;
  return true;
}

void Engine::on_straggler(NodeId about, const FrameView& answer) {
  std::erase(questions_, about);
  const auto told = decode<Straggler>(answer.meta);
  if (told.ok()) seen_global_clock_ = std::max(seen_global_clock_, answer.header.clock);
  for (const auto index : std::vector<std::uint32_t>(active_)) {
    auto& op = operations_[index];
    if (!op.pending()) continue;
    if (!op.asks_scheduler || op.awaited != about) continue;
    op.asks_scheduler = false;
    if (told.ok()) op.straggler = *told;
    op.force_at = kNever;  // it is not asked again
    end_letting_go(op);
  }
}

}  // namespace shoal
