// Operations that come to their deadlines. A pull that waits for another worker names it: servers
// know who held G back when it last rose, the scheduler knows who does now, so it is asked while
// the pull lets go. One question serves all pulls of this worker.

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

void Engine::expire(TimePoint now) {
  if (now < next_expiry_) return;
  next_expiry_ = kNever;
  ended_.clear();
  for (const auto index : active_) {
    const auto& op = operations_[index];
    const auto due = op.stage == Operation::Stage::letting_go ? op.force_at : op.deadline;
    if (due <= now)
      ended_.push_back(id_of(index));
    else
      next_expiry_ = std::min(next_expiry_, due);
  }
  // A connection that breaks for one of them may end others.
  for (const auto id : ended_) {
    auto* op = find_operation(id);
    if (op == nullptr) continue;
    if (op->stage == Operation::Stage::letting_go)
      force_end(*op);
    else
      expire(*op);
  }
}

void Engine::expire(Operation& op) {
  if (op.kind == OperationKind::control)
    return let_go(op, Errc::timed_out,
                  fmt::format("the scheduler {} did not answer in time: {}",
                              options_.scheduler.to_string(), link_.explain()));
  if (op.kind == OperationKind::flush) return let_go(op, Errc::timed_out, why_unsettled(op));
  bool lost = false;
  auto why = why_late(op, lost);
  let_go(op, lost ? Errc::peer_lost : Errc::timed_out, std::move(why));
}

/// True: the scheduler's answer, or the end of the grace, ends the operation.
bool Engine::ask_for_straggler(Operation& op) {
  const bool late = op.force_at == kNever;
  if (late || op.need <= seen_global_clock_ || !link_.unreachable(now_).empty()) return false;
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
  for (const auto id : active_ids()) {
    auto* op = find_operation(id);
    if (op == nullptr || !op->asks_scheduler || op->awaited != about) continue;
    op->asks_scheduler = false;
    if (told.ok()) op->straggler = *told;
    op->force_at = kNever;  // it is not asked again
    end_letting_go(*op);
  }
}

}  // namespace shoal
