// Operations that wait for others before they may be sent: those they follow, and pushes of earlier
// clocks.

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "worker/engine/engine.h"
#include "worker/engine/peers.h"

namespace shoal {

/// Gives the entry its place: the list ascends by clock, so what a push has to wait for is in front
/// of it, even where it stands for one that has waited for long.
void Engine::block(const Blocked& entry) {
  const auto at =
      std::upper_bound(blocked_.begin(), blocked_.end(), entry.clock,
                       [](WorkerClock clock, const Blocked& other) { return clock < other.clock; });
  blocked_.insert(at, entry);
  recheck_blocked_ = true;
}

/// Whether servers would only park the entry: its table takes pushes of clocks below G + window,
/// and G never passes what this worker reports. What has been sent is then all admitted once G
/// waits for this worker alone, so that no credit is missing for what others wait for.
bool Engine::window_is_closed(const Blocked& blocked) {
  const bool stores = blocked.operation != Request::kNone && operations_[blocked.operation].store;
  const auto* table = find_table(TableId(blocked.table));
  if (stores || fenced_ || table == nullptr || table->info == nullptr) return false;
  const auto& spec = table->shape.spec;
  return spec.apply_mode() != Apply::on_arrival &&
         blocked.clock - keeper_.reported() >= spec.window();
}

/// Whether the blocked entry at `position` may be sent: its dependencies have ended, its table may
/// take it, and no push of an earlier clock to its table still waits for its sequence numbers.
bool Engine::may_start(const Blocked& blocked, std::size_t position, Error& failed) {
  if (blocked.operation != Request::kNone) {
    const auto& op = operations_[blocked.operation];
    if (!op.follows_failed.empty()) {
      failed = Error{Errc::cancelled,
                     fmt::format("the operation that it follows failed: {}", op.follows_failed)};
      return false;
    }
    for (const auto& id : op.after)
      if (id.valid()) return false;
  }
  if (blocked.pushes && window_is_closed(blocked)) return false;
  if (blocked.pushes)
    for (std::size_t i = 0; i < position; ++i)
      if (blocked_[i].pushes && blocked_[i].table == blocked.table &&
          blocked_[i].clock < blocked.clock)
        return false;
  return true;
}

/// Whether the push comes after a pull, perhaps through others, that only this worker's own tick
/// could admit: that tick would wait for the push. What it comes after only grows less, so that the
/// answer at the call holds.
std::optional<WorkerClock> Engine::tick_before(const Operation& push) {
  const auto walk = ++walks_;
  walked_.clear();
  const auto follow = [&](const Operation& op) {
    for (const auto& id : op.after) {
      if (!id.valid()) continue;
      auto& other = operations_[id.index];
      const bool ending = other.stage == Operation::Stage::letting_go;  // without a tick
      if (!ending && std::exchange(other.walk, walk) != walk) walked_.push_back(id.index);
    }
  };
  follow(push);
  for (std::size_t i = 0; i < walked_.size(); ++i) {
    const auto& op = operations_[walked_[i]];
    if (op.kind == OperationKind::pull && op.need > push.clock) return op.need;
    follow(op);
  }
  return {};
}

/// Takes from `after` what has ended, and keeps why it failed. Looked at when the operation is
/// taken in and at each end of another: later the place may be another operation's.
void Engine::follow_ended(Operation& op) {
  for (auto& id : op.after) {
    if (!id.valid()) continue;
    const auto& other = operations_[id.index];
    const auto now_there = other.generation.load(std::memory_order_relaxed);
    if (other.ended != id.generation && now_there == id.generation) continue;
    if (const auto* why = failures_.find(id); why != nullptr && op.follows_failed.empty())
      op.follows_failed = *why;
    id = OperationId{};
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
      if (blocked.empty_clocks()) {
        start_empty_clock(blocked);
      } else if (blocked.operation == Request::kNone) {
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

}  // namespace shoal
