#include "server/membership.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/base/log.h"

namespace shoal {

namespace {

/// Joins and barriers that wait are bounded by the roster; this only stops a peer that joins for fun.
constexpr std::size_t kPendingJoinsMax = 65536;
constexpr std::size_t kTablesMax = 65536;

}  // namespace

Membership::Membership(const Options& options, const std::optional<StoredView>& stored,
                       TimePoint now)
    : options_(options) {
  draft_.epoch = {1, 0};
  changed_ = true;  // even the first view is stored before it is sent
  if (!stored) return;
  committed_ = draft_ = stored->view;
  draft_.epoch = {stored->view.epoch.term + 1, 0};
  next_node_ = stored->next_node;
  next_table_ = stored->next_table;
  clocks_ = ClockTable(stored->view.global_clock);
  for (const auto& node : draft_.nodes) vitals_[node.id].last_heard = now;
  for (const auto& entry : draft_.roster) {
    clocks_.add(entry.worker, std::max(entry.start, stored->view.global_clock));
    unreported_.push_back(entry.worker);
  }
}

void Membership::refuse(Asker asker, Errc code, std::string text) {
  answer({asker, code, std::move(text), {}, {}});
}

const NodeInfo* Membership::find_incarnation(Role role, Incarnation incarnation) const {
  for (const auto& node : draft_.nodes)
    if (node.role == role && node.incarnation == incarnation) return &node;
  return nullptr;
}

NodeId Membership::add_node(const Join& join, TimePoint now) {
  NodeInfo node;
  node.id = NodeId(next_node_++);
  node.role = join.role;
  node.incarnation = join.incarnation;
  node.name = join.name;
  node.address = join.address;
  draft_.nodes.push_back(node);  // ids grow: sorted
  vitals_[node.id].last_heard = now;
  changed_ = true;
  return node.id;
}

Joined Membership::joined_of(const NodeInfo& node) const {
  Joined joined;
  joined.node = node.id;
  const bool server = node.role == Role::server;
  joined.lease = server ? options_.server_lease : options_.worker_lease;
  joined.beat = server ? options_.server_beat : options_.worker_beat;
  if (const auto* entry = draft_.find_worker(node.id)) {
    joined.rank = entry->rank;
    joined.start = entry->start;
  }
  return joined;
}

// ---- Joining.

void Membership::join(Asker asker, const Join& join, TimePoint now) {
  if (join.role == Role::worker) return join_worker(asker, join, now);
  if (join.role == Role::server) return join_server(asker, join, now);
  const auto* known = find_incarnation(join.role, join.incarnation);
  const auto id = known != nullptr ? known->id : add_node(join, now);
  answer({asker, Errc::ok, {}, {}, joined_of(*draft_.find_node(id))});
}

void Membership::join_server(Asker asker, const Join& join, TimePoint now) {
  if (const auto* known = find_incarnation(Role::server, join.incarnation)) {
    heard(known->id, join.incarnation, 0, now);
    return answer({asker, Errc::ok, {}, {}, joined_of(*draft_.find_node(known->id))});
  }
  // A new process at an old one's address: the old one is dead for certain.
  NodeId replaced;
  for (const auto& node : draft_.nodes)
    if (node.role == Role::server && node.address == join.address) replaced = node.id;
  if (replaced.value != 0) lost(replaced);
  const auto id = add_node(join, now);
  answer({asker, Errc::ok, {}, {}, joined_of(*draft_.find_node(id))});
  form_if_complete(now);
}

void Membership::join_worker(Asker asker, const Join& join, TimePoint now) {
  if (const auto* known = find_incarnation(Role::worker, join.incarnation);
      known != nullptr && draft_.find_worker(known->id) != nullptr)
    return answer({asker, Errc::ok, {}, {}, joined_of(*known)});
  if (draft_.formed && !recovering()) return admit_late(asker, join, now);
  for (auto& pending : joins_)
    if (pending.join.incarnation == join.incarnation) {
      pending.asker = asker;
      return;
    }
  if (joins_.size() >= kPendingJoinsMax)
    return refuse(asker, Errc::overloaded, "too many joins are waiting");
  joins_.push_back({asker, join, deadline_after(now, options_.form_timeout)});
  form_if_complete(now);
}

/// A late joiner starts at G + W, so that no round was folded without it, with the lowest free rank.
void Membership::admit_late(Asker asker, const Join& join, TimePoint now) {
  RosterEntry entry;
  entry.worker = add_node(join, now);
  entry.start = options_.join_at_global_clock ? clocks_.global_clock()
                                              : clocks_.global_clock() + draft_.window;
  auto at = draft_.roster.begin();
  while (at != draft_.roster.end() && at->rank == entry.rank) {
    ++at;
    entry.rank = Rank(entry.rank.value + 1);
  }
  draft_.roster.insert(at, entry);
  clocks_.add(entry.worker, entry.start);
  answer({asker, Errc::ok, {}, {}, joined_of(*draft_.find_node(entry.worker))});
}

void Membership::form_if_complete(TimePoint now) {
  if (draft_.formed || joins_.size() < options_.workers_expected) return;
  const auto servers = std::count_if(draft_.nodes.begin(), draft_.nodes.end(), [](const auto& node) {
    return node.role == Role::server;
  });
  if (static_cast<std::uint32_t>(servers) < options_.servers_expected) return;
  draft_.formed = changed_ = true;
  for (const auto& pending : std::exchange(joins_, {})) {
    RosterEntry entry;
    entry.worker = add_node(pending.join, now);
    entry.rank = Rank(static_cast<std::uint32_t>(draft_.roster.size()));
    draft_.roster.push_back(entry);
    clocks_.add(entry.worker, entry.start);
    answer({pending.asker, Errc::ok, {}, {}, joined_of(*draft_.find_node(entry.worker))});
  }
}

/// After a restart nobody joins until the roster has reported its clocks.
void Membership::admit_waiting(TimePoint now) {
  if (!draft_.formed || recovering()) return;
  for (const auto& pending : std::exchange(joins_, {})) admit_late(pending.asker, pending.join, now);
}

std::string Membership::waiting_for() const {
  const auto servers = static_cast<std::uint32_t>(
      std::count_if(draft_.nodes.begin(), draft_.nodes.end(),
                    [](const auto& node) { return node.role == Role::server; }));
  if (recovering())
    return fmt::format("the scheduler was restarted and waits for {} workers to report",
                       unreported_.size());
  const auto missing = [](std::uint32_t expected, std::size_t there) {
    return there >= expected ? 0 : expected - static_cast<std::uint32_t>(there);
  };
  return fmt::format("{} of {} servers and {} of {} workers are missing",
                     missing(options_.servers_expected, servers), options_.servers_expected,
                     missing(options_.workers_expected, joins_.size()), options_.workers_expected);
}

// ---- Leaving and dying.

void Membership::heard(NodeId node, Incarnation incarnation, std::uint64_t turns, TimePoint now) {
  for (auto& info : draft_.nodes) {
    if (info.id != node || info.incarnation != incarnation) continue;
    auto& vitals = vitals_[node];
    vitals.last_heard = now;
    vitals.turns = std::max(vitals.turns, turns);
    if (info.state == NodeState::alive) return;
    info.state = NodeState::alive;
    changed_ = true;
  }
}

void Membership::suspect(NodeId node) {
  for (auto& info : draft_.nodes) {
    if (info.id != node || info.role != Role::server || info.state == NodeState::suspect) continue;
    info.state = NodeState::suspect;
    changed_ = true;
    log_warn("scheduler", "server {} '{}' at {} is silent; its slots are lost in {} s unless it comes "
             "back", node.value, info.name, info.address,
             std::chrono::duration_cast<std::chrono::seconds>(options_.lost_after).count());
  }
}

void Membership::lost(NodeId node) {
  const auto* info = draft_.find_node(node);
  if (info == nullptr || info->role != Role::server) return;
  std::uint64_t slots = 0;
  const Epoch next{draft_.epoch.term, committed_.epoch.number + 1};
  for (auto& table : draft_.tables)
    for (auto& chain : table.slots)
      for (std::uint8_t i = 0; i < chain.length; ++i) {
        if (chain.servers[i] != node) continue;
        std::copy(chain.servers + i + 1, chain.servers + chain.length, chain.servers + i);
        chain.servers[--chain.length] = NodeId{};
        chain.filling = chain.filling && chain.length > 1;
        chain.since = next;
        if (chain.lost()) ++slots;
        break;
      }
  log_error("scheduler", "server {} '{}' at {} is lost, and {} slots with it", node.value,
            info->name, info->address, slots);
  std::erase_if(draft_.nodes, [&](const NodeInfo& n) { return n.id == node; });
  vitals_.erase(node);
  changed_ = true;
}

void Membership::drop_worker(NodeId node) {
  std::erase_if(draft_.roster, [&](const RosterEntry& entry) { return entry.worker == node; });
  std::erase_if(draft_.nodes, [&](const NodeInfo& info) { return info.id == node; });
  std::erase(unreported_, node);
  clocks_.remove(node);
  vitals_.erase(node);
  passed_.erase(node);
  changed_ = true;
  advance_clocks();
  settle_opens();
  settle_barriers();
}

void Membership::leave(Asker asker, NodeId node) {
  const auto* info = draft_.find_node(node);
  if (info != nullptr && info->role == Role::server) {
    lost(node);
  } else if (info != nullptr) {
    drop_worker(node);
  }
  answer({asker, Errc::ok, {}, {}, {}});  // a repeat finds nobody, which is as it should be
}

void Membership::check_leases(TimePoint now) {
  std::vector<NodeId> dropped, gone, silent;
  for (const auto& info : draft_.nodes) {
    const auto silence = now - vitals_[info.id].last_heard;
    if (info.role != Role::server) {
      if (silence > options_.worker_lease) dropped.push_back(info.id);
    } else if (silence > options_.lost_after) {
      gone.push_back(info.id);
    } else if (silence > options_.server_lease) {
      silent.push_back(info.id);
    }
  }
  if (options_.straggler_limit > 0) {
    WorkerClock fastest;
    for (const auto& entry : draft_.roster) fastest = std::max(fastest, local_clock(entry.worker));
    for (const auto& entry : draft_.roster)
      if (const auto reported = clocks_.reported(entry.worker);
          reported && fastest - *reported > options_.straggler_limit) {
        log_warn("scheduler", "worker {} is {} clocks behind the fastest and is removed "
                 "(straggler_limit {})", entry.rank.value, fastest - *reported,
                 options_.straggler_limit);
        dropped.push_back(entry.worker);
      }
  }
  for (const auto node : silent) suspect(node);
  for (const auto node : gone) lost(node);
  for (const auto node : dropped) {
    log_warn("scheduler", "worker node {} was silent for its lease, or too slow, and is dropped from "
             "the roster", node.value);
    drop_worker(node);
  }
}

// ---- Clocks.

WorkerClock Membership::local_clock(NodeId worker) const {
  const auto at = vitals_.find(worker);
  const auto* entry = draft_.find_worker(worker);
  const auto start = entry == nullptr ? WorkerClock(0) : entry->start;
  return at == vitals_.end() ? start : std::max(start, at->second.tick.local);
}

void Membership::tick(const Tick& tick, TimePoint now) {
  if (draft_.find_worker(tick.node) == nullptr) return;
  auto& vitals = vitals_[tick.node];
  vitals.last_heard = now;
  if (tick.local >= vitals.tick.local) vitals.tick = tick;
  clocks_.report(tick.node, tick.reported);
  std::erase(unreported_, tick.node);
  advance_clocks();
  admit_waiting(now);
}

void Membership::advance_clocks() {
  if (recovering() || !clocks_.advance()) return;
  draft_.global_clock = clocks_.global_clock();
}

// ---- Tables.

void Membership::open_table(Asker asker, NodeId opener, TableSpec spec, TimePoint now) {
  if (const auto valid = validate(spec); !valid.ok())
    return refuse(asker, valid.code(), valid.error().what);
  if (const auto* known = draft_.find_table(spec.name)) {
    if (const auto same = agrees(known->spec, spec); !same.ok())
      return refuse(asker, same.code(), same.error().what);
    return answer({asker, Errc::ok, {}, known->id, {}});
  }
  if (!draft_.formed) return refuse(asker, Errc::not_ready, "the cluster is not complete yet");
  if (draft_.tables.size() >= kTablesMax)
    return refuse(asker, Errc::overloaded, fmt::format("there are {} tables, the most", kTablesMax));
  if (spec.apply_mode() == Apply::collective) return open_collective(asker, opener, spec, now);
  const std::pair<NodeId, Asker> one{opener, asker};
  make_table(spec, {&one, 1});
}

void Membership::make_table(const TableSpec& spec,
                            std::span<const std::pair<NodeId, Asker>> askers) {
  std::vector<NodeId> servers;
  for (const auto& node : draft_.nodes)
    if (node.role == Role::server) servers.push_back(node.id);
  if (servers.empty()) {
    for (const auto& [node, asker] : askers)
      refuse(asker, Errc::not_ready, "no server is there to hold the table");
    return;
  }
  TableInfo table;
  table.id = TableId(next_table_++);
  table.spec = spec;
  table.spec.apply = spec.apply_mode();
  table.start = clocks_.global_clock();
  table.slots.resize(Geometry::choose_slots(spec, static_cast<std::uint32_t>(servers.size())));
  const Epoch next{draft_.epoch.term, committed_.epoch.number + 1};
  for (std::size_t slot = 0; slot < table.slots.size(); ++slot) {
    auto& chain = table.slots[slot];
    chain.length = 1;
    chain.servers[0] = servers[slot * servers.size() / table.slots.size()];
    chain.since = next;
  }
  // W only grows: it is what a late joiner's first clock is counted from.
  if (table.spec.apply_mode() != Apply::on_arrival)
    draft_.window = std::max(draft_.window, table.window());
  for (const auto& [node, asker] : askers) answer({asker, Errc::ok, {}, table.id, {}});
  draft_.tables.push_back(std::move(table));
  changed_ = true;
}

/// A collective table is opened by the whole roster together, at equal clocks.
void Membership::open_collective(Asker asker, NodeId opener, const TableSpec& spec, TimePoint now) {
  if (draft_.find_worker(opener) == nullptr)
    return refuse(asker, Errc::invalid_argument,
                  fmt::format("collective table '{}' is opened by workers of the roster", spec.name));
  const auto clock = local_clock(opener);
  auto [at, fresh] = opens_.try_emplace(spec.name);
  auto& pending = at->second;
  if (fresh) {
    pending.spec = spec;
    pending.clock = clock;
    pending.until = deadline_after(now, options_.open_timeout);
  } else if (const auto same = agrees(pending.spec, spec); !same.ok()) {
    return refuse(asker, same.code(), same.error().what);
  } else if (clock != pending.clock && !pending.openers.contains(opener)) {
    return refuse(asker, Errc::mismatch,
                  fmt::format("collective table '{}' is being opened by others at clock {}, and by "
                              "this worker at clock {}: all workers open it at equal clocks",
                              spec.name, pending.clock.value, clock.value));
  }
  pending.openers[opener] = asker;
  settle_opens();
}

void Membership::settle_opens() {
  for (auto at = opens_.begin(); at != opens_.end();) {
    auto& pending = at->second;
    std::erase_if(pending.openers,
                  [&](const auto& opener) { return draft_.find_worker(opener.first) == nullptr; });
    const bool all = std::all_of(draft_.roster.begin(), draft_.roster.end(), [&](const auto& entry) {
      return pending.openers.contains(entry.worker);
    });
    if (pending.openers.empty()) {
      at = opens_.erase(at);
    } else if (all) {
      const std::vector<std::pair<NodeId, Asker>> askers(pending.openers.begin(),
                                                         pending.openers.end());
      make_table(pending.spec, askers);
      at = opens_.erase(at);
    } else {
      ++at;
    }
  }
}

void Membership::drop_table(Asker asker, TableId table) {
  if (draft_.find_table(table) != nullptr) {
    std::erase_if(draft_.tables, [&](const TableInfo& info) { return info.id == table; });
    changed_ = true;
  }
  answer({asker, Errc::ok, {}, {}, {}});
}

void Membership::set_parameter(Asker asker, TableId id, const SetParameter& change) {
  const auto at = std::find_if(draft_.tables.begin(), draft_.tables.end(),
                               [&](const TableInfo& info) { return info.id == id; });
  if (at == draft_.tables.end())
    return refuse(asker, Errc::unknown_name, "set_parameter of a table that is not there");
  const auto& parameters = at->spec.update.parameters;
  const bool known = std::any_of(parameters.begin(), parameters.end(),
                                 [&](const auto& parameter) { return parameter.first == change.name; });
  if (!known) {
    std::string names;
    for (const auto& parameter : parameters) names += (names.empty() ? "" : ", ") + parameter.first;
    return refuse(asker, Errc::unknown_name,
                  fmt::format("update rule '{}' of table '{}' has no parameter '{}'; it has: {}",
                              at->spec.update.rule, at->spec.name, change.name,
                              names.empty() ? "none" : names));
  }
  if (!std::isfinite(change.value))
    return refuse(asker, Errc::invalid_argument,
                  fmt::format("{} = {} is not a number", change.name, change.value));
  const auto earliest = clocks_.global_clock() + draft_.window;
  auto from = change.from_clock;
  if (at->spec.apply_mode() != Apply::on_arrival) {
    if (from < WorkerClock(0)) from = earliest;  // not given: as soon as it can be
    if (from < earliest)
      return refuse(asker, Errc::out_of_range,
                    fmt::format("table '{}': a parameter can change from clock {} on, not from {}: "
                                "rounds before that may have been folded", at->spec.name,
                                earliest.value, from.value));
  }
  at->parameters.push_back({change.name, change.value, from});
  changed_ = true;
  answer({asker, Errc::ok, {}, {}, {}});
}

// ---- Barriers.

void Membership::barrier(Asker asker, const Barrier& barrier) {
  if (draft_.find_worker(barrier.node) == nullptr)
    return refuse(asker, Errc::fenced, "a barrier is for workers of the roster");
  if (barrier.number <= passed_[barrier.node])  // a repeat after its answer was lost
    return answer({asker, Errc::ok, {}, {}, {}});
  auto [at, fresh] = barriers_.try_emplace(barrier.number);
  if (fresh)
    for (const auto& entry : draft_.roster) at->second.awaited.push_back(entry.worker);
  at->second.arrived[barrier.node] = asker;
  settle_barriers();
}

/// A barrier opens when all who were in the roster at its first arrival have come, or are gone.
void Membership::settle_barriers() {
  for (auto at = barriers_.begin(); at != barriers_.end();) {
    auto& pending = at->second;
    const bool open = std::all_of(
        pending.awaited.begin(), pending.awaited.end(), [&](NodeId worker) {
          return pending.arrived.contains(worker) || draft_.find_worker(worker) == nullptr;
        });
    if (!open) {
      ++at;
      continue;
    }
    for (const auto& [node, asker] : pending.arrived) {
      if (draft_.find_worker(node) != nullptr) passed_[node] = at->first;
      answer({asker, Errc::ok, {}, {}, {}});
    }
    at = barriers_.erase(at);
  }
}

void Membership::forget(Asker asker) {
  std::erase_if(joins_, [&](const PendingJoin& pending) { return pending.asker == asker; });
  std::erase_if(answers_, [&](const Answer& pending) { return pending.asker == asker; });
  std::erase_if(ready_, [&](const Answer& pending) { return pending.asker == asker; });
  // An arrival at a barrier counts even if the connection broke; its repeat names itself again.
}

// ---- Time and the view.

void Membership::poll(TimePoint now) {
  check_leases(now);
  const auto late = [&](const auto& pending) { return pending.until <= now; };
  for (const auto& pending : joins_)
    if (late(pending))
      refuse(pending.asker, Errc::timed_out,
             fmt::format("the cluster is not complete: {}", waiting_for()));
  std::erase_if(joins_, late);
  for (auto at = opens_.begin(); at != opens_.end();) {
    if (!late(at->second)) {
      ++at;
      continue;
    }
    for (const auto& [node, asker] : at->second.openers)
      refuse(asker, Errc::timed_out,
             fmt::format("collective table '{}' was opened by {} of {} workers in time: all open it "
                         "together", at->first, at->second.openers.size(), draft_.roster.size()));
    at = opens_.erase(at);
  }
  admit_waiting(now);
}

TimePoint Membership::next_timer() const {
  auto next = kNever;
  for (const auto& info : draft_.nodes) {
    const auto heard = vitals_.at(info.id).last_heard;
    const auto lease = info.role != Role::server          ? options_.worker_lease
                       : info.state == NodeState::suspect ? options_.lost_after
                                                          : options_.server_lease;
    next = std::min(next, deadline_after(heard, lease + Duration(1)));
  }
  for (const auto& pending : joins_) next = std::min(next, pending.until);
  for (const auto& [name, pending] : opens_) next = std::min(next, pending.until);
  return next;
}

StoredView Membership::stamped() {
  draft_.epoch.number = draft_.epoch.term == committed_.epoch.term ? committed_.epoch.number + 1 : 1;
  draft_.global_clock = clocks_.global_clock();
  return {draft_, next_node_, next_table_};
}

void Membership::commit() {
  committed_ = draft_;
  changed_ = false;
}

std::vector<Membership::Answer> Membership::take_answers() {
  // An answer that speaks of a view waits until that view is stored.
  if (!changed_) {
    for (auto& answer : answers_) ready_.push_back(std::move(answer));
    answers_.clear();
  }
  return std::exchange(ready_, {});
}

}  // namespace shoal
