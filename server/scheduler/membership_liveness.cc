// Who is heard of, who is not, who goes: see docs/design/protocol.md, "Liveness".

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/log.h"
#include "server/scheduler/membership.h"
#include "server/scheduler/membership_words.h"

namespace shoal {

namespace {
/// Tables that a line of the log names.
constexpr std::size_t kTablesNamed = 8;
}  // namespace

std::string described(const NodeInfo& node) {
  return fmt::format("{} '{}' (node {}{}{})", name_of(node.role), node.name, node.id.value,
                     node.address.empty() ? "" : ", ", node.address);
}

std::string counted(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string in_seconds(Duration time) {
  return fmt::format("{:g} s", std::chrono::duration<double>(time).count());
}

void Membership::heard(NodeId node, Incarnation incarnation, std::uint64_t turns, TimePoint now) {
  auto* info = find_node(node);
  if (info == nullptr || info->incarnation != incarnation) return;
  auto& vitals = vitals_[node];
  vitals.last_heard = now;
  watch_loop(*info, turns, now);
  if (info->state == NodeState::alive) return;
  info->state = NodeState::alive;
  leases_at_ = std::min(leases_at_, deadline_after(now, lease_of(*info)));
  changed_ = true;
  log_info("scheduler", "{} is heard of again, with all its slots", described(*info));
}

/// Beats come from a thread of their own: a loop that hangs is told from a process that is gone.
/// Only of servers, since a worker's loop may be its caller's to turn.
void Membership::watch_loop(const NodeInfo& node, std::uint64_t turns, TimePoint now) {
  auto& vitals = vitals_[node.id];
  const auto stood = now - vitals.turned_at;
  if (turns > vitals.turns) {
    if (vitals.hung)
      log_warn("scheduler", "{} goes on after it stood still for {}", described(node),
               in_seconds(stood));
    vitals.turns = turns;
    vitals.turned_at = now;
    vitals.hung = false;
  } else if (node.role == Role::server && !vitals.hung && stood >= options_.server_lease) {
    vitals.hung = true;
    log_warn("scheduler",
             "{} beats, but its loop has stood still for {}: it hangs in an update rule, in its "
             "memory (swap), or in a defect; its stack says where (gdb -p)",
             described(node), in_seconds(stood));
  }
}

void Membership::suspect(NodeId node, std::string_view why) {
  auto* info = find_node(node);
  if (info == nullptr || info->role != Role::server || info->state == NodeState::suspect) return;
  info->state = NodeState::suspect;
  changed_ = true;
  log_warn("scheduler",
           "{} {}; its slots are lost in {} unless it comes back, or at once if "
           "nobody listens at its port",
           described(*info), why, in_seconds(options_.lost_after));
}

std::vector<NodeId> Membership::suspects() const {
  std::vector<NodeId> found;
  for (const auto& node : draft_.nodes)
    if (node.state == NodeState::suspect) found.push_back(node.id);
  return found;
}

/// Takes the server out of every chain. Returns, in words, which slots nobody has any more: it was
/// the last, or only one that was still filling is left.
std::string Membership::remove_server(NodeId node) {
  std::uint64_t slots = 0;
  std::vector<std::string_view> tables;
  for (auto& table : draft_.tables) {
    const auto before = slots;
    for (auto& chain : table.slots) {
      auto* const end = chain.servers + chain.length;
      auto* const at = std::find(chain.servers, end, node);
      if (at == end) continue;
      if (at + 1 == end) chain.filling = false;
      std::copy(at + 1, end, at);
      chain.servers[--chain.length] = NodeId{};
      if (chain.filling && chain.length == 1) chain = SlotChain{};
      chain.since = next_epoch();
      if (chain.lost()) ++slots;
    }
    if (slots != before) tables.push_back(table.spec.name);
  }
  std::erase_if(draft_.nodes, [&](const NodeInfo& n) { return n.id == node; });
  vitals_.erase(node);
  remove_rules(node);
  memory_.remove(node);
  changed_ = true;
  if (slots == 0) return {};
  const auto named = std::min(tables.size(), kTablesNamed);
  return fmt::format(
      ", and the rows of {} that only it held are gone (tables '{}'{})", counted(slots, "slot"),
      fmt::join(tables.begin(), tables.begin() + static_cast<std::ptrdiff_t>(named), "', '"),
      named < tables.size() ? ", ..." : "");
}

void Membership::lost(NodeId node, std::string_view why) {
  const auto* info = find_node(node);
  if (info == nullptr || info->role != Role::server) return;
  const auto who = described(*info);
  log_error("scheduler", "{} is lost: {}{}", who, why, remove_server(node));
}

void Membership::leave(Asker asker, NodeId node) {
  const auto* info = find_node(node);
  if (info != nullptr && info->role == Role::server) {
    const auto who = described(*info);
    const auto losses = remove_server(node);
    log(losses.empty() ? LogLevel::info : LogLevel::warn, "scheduler", "{} has left{}", who,
        losses);
  } else if (info != nullptr) {
    log_info("scheduler", "{} has left", described(*info));
    drop_worker(node);
  }
  done(asker);  // a repeat finds nobody, which is as it should be
}

/// Workers and observers.
void Membership::drop_worker(NodeId node) {
  std::erase_if(draft_.roster, [&](const RosterEntry& entry) { return entry.worker == node; });
  std::erase_if(draft_.nodes, [&](const NodeInfo& info) { return info.id == node; });
  clocks_.remove(node);
  if (std::erase(unreported_, node) > 0 && !recovering() && clocks_.size() == 0)
    clocks_ = ClockTable(clock_bound_);  // nobody is left who knows how far G had come
  vitals_.erase(node);
  passed_.erase(node);
  changed_ = true;
  advance_clocks();
  settle_opens();
  leave_barriers(node);
}

Duration Membership::lease_of(const NodeInfo& node) const {
  if (node.role != Role::server) return options_.worker_lease;
  return node.state == NodeState::suspect ? std::max(options_.lost_after, options_.server_lease)
                                          : options_.server_lease;
}

void Membership::was_absent(Duration time, TimePoint now) {
  for (auto& [node, vitals] : vitals_) vitals.last_heard = std::min(vitals.last_heard + time, now);
}

void Membership::check_leases(TimePoint now) {
  if (now < leases_at_) return;
  std::vector<NodeInfo> silent;
  leases_at_ = kNever;
  for (const auto& info : draft_.nodes) {
    const auto end = deadline_after(vitals_.at(info.id).last_heard, lease_of(info));
    if (now >= end)
      silent.push_back(info);
    else
      leases_at_ = std::min(leases_at_, end);
  }
  for (const auto& info : silent) {
    if (info.role != Role::server) {
      log_warn("scheduler", "{} was silent for its lease of {} and is dropped", described(info),
               in_seconds(options_.worker_lease));
      drop_worker(info.id);
    } else if (info.state == NodeState::suspect) {
      lost(info.id, fmt::format("silent for {} (lost_after)", in_seconds(options_.lost_after)));
    } else {
      suspect(info.id, "is silent");
      const auto& suspected = *find_node(info.id);
      leases_at_ =
          std::min(leases_at_, deadline_after(vitals_.at(info.id).last_heard, lease_of(suspected)));
    }
  }
}

void Membership::check_stragglers() {
  if (options_.straggler_limit <= 0 || clocks_.size() == 0 || recovering() ||
      fastest_ - clocks_.global_clock() <= options_.straggler_limit)
    return;
  fastest_ = WorkerClock{};  // the fastest may have left
  for (const auto& entry : draft_.roster) fastest_ = std::max(fastest_, local_clock(entry));
  std::vector<RosterEntry> slow;
  for (const auto& entry : draft_.roster)
    if (fastest_ - *clocks_.reported(entry.worker) > options_.straggler_limit)
      slow.push_back(entry);
  for (const auto& entry : slow) {
    log_warn("scheduler",
             "{} is {} clocks behind the fastest and is dropped (straggler_limit = {})",
             described(*find_node(entry.worker)), fastest_ - *clocks_.reported(entry.worker),
             options_.straggler_limit);
    drop_worker(entry.worker);
  }
}

}  // namespace shoal
