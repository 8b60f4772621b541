// What the cluster agrees on: clocks, update rules, tables, parameters. See
// docs/design/protocol.md, "Clocks and staleness".

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/ops/initializer.h"
#include "server/scheduler/membership.h"

namespace shoal {

namespace {

/// A bound of what a table adds to an encoded view: its spec, and a run of slots for each server.
std::size_t bytes_bound(const TableSpec& spec, std::size_t servers) {
  std::size_t bytes = 128 + spec.name.size() + spec.update.rule.size() + 24 * servers;
  for (const auto& [name, value] : spec.update.parameters) bytes += 16 + name.size();
  return bytes;
}

/// The parameter has that value already from `clock` on: a change that was asked for twice, as
/// after an answer that was lost. The last change of a parameter overrides all before it from its
/// clock on.
bool holds_already(const TableInfo& table, const SetParameter& change, WorkerClock clock) {
  const auto last =
      std::find_if(table.parameters.rbegin(), table.parameters.rend(),
                   [&](const ParameterChange& some) { return some.name == change.name; });
  return last != table.parameters.rend() && last->value == change.value &&
         last->from_clock <= clock;
}

}  // namespace

// ---- Clocks.

void Membership::tick(const Tick& tick, Epoch seen, TimePoint now) {
  const auto at = vitals_.find(tick.node);
  if (at == vitals_.end()) return;
  auto& vitals = at->second;
  vitals.last_heard = now;
  if (tick.local >= vitals.tick.local) vitals.tick = tick;  // an older one may come later
  if (!clocks_.contains(tick.node)) {                       // a server's
    if (seen >= sparse_from_) memory_.set_sparse(tick.node, tick.sparse_bytes);
    return;
  }
  fastest_ = std::max(fastest_, tick.local);
  clocks_.report(tick.node, tick.reported);
  if (recovering()) std::erase(unreported_, tick.node);
  advance_clocks();
}

void Membership::advance_clocks() {
  if (recovering() || !clocks_.advance()) return;
  draft_.global_clock = clocks_.global_clock();
  if (clocks_.global_clock() > clock_bound_) changed_ = true;
}

WorkerClock Membership::local_clock(const RosterEntry& entry) const {
  const auto at = vitals_.find(entry.worker);
  return at == vitals_.end() ? entry.start : std::max(entry.start, at->second.tick.local);
}

Straggler Membership::straggler(NodeId about) const {
  Straggler found;
  const auto worker = about.value != 0 ? about : clocks_.holder();
  const auto reported = clocks_.reported(worker);
  if (!reported) return found;
  found.worker = worker;
  found.reported = *reported;
  found.local = std::max(*reported, vitals_.at(worker).tick.local);
  if (about.value == 0) found.others = static_cast<std::uint32_t>(clocks_.holders() - 1);
  return found;
}

/// After a restart G is not known until the roster has reported: what needs it waits.
bool Membership::defer(Asker asker, std::function<void(TimePoint)> go) {
  if (!recovering()) return false;
  deferred_.push_back({asker, std::move(go)});
  return true;
}

void Membership::resume(TimePoint now) {
  if (recovering() || deferred_.empty()) return;
  for (const auto& deferred : std::exchange(deferred_, {})) deferred.go(now);
}

// ---- Update rules. Plugins are the servers' own, so only they can say what there is.

void Membership::add_rules(NodeId server, const std::vector<RuleInfo>& rules) {
  auto at = std::find_if(rules_.begin(), rules_.end(),
                         [&](const ServerRules& some) { return some.rules == rules; });
  if (at == rules_.end()) at = rules_.insert(at, {rules, {}});
  at->servers.push_back(server);
}

void Membership::remove_rules(NodeId server) {
  for (auto& some : rules_) std::erase(some.servers, server);
  std::erase_if(rules_, [](const ServerRules& some) { return some.servers.empty(); });
}

/// Every server must know it, also one that gets no slot now: it may get one later.
Status Membership::servers_know_rule(const TableSpec& spec) const {
  for (const auto& some : rules_) {
    const auto known = check_rule(some.rules, spec.update, spec.dtype);
    if (known.ok()) continue;
    const auto* server = draft_.find_node(some.servers.front());
    return Error{known.code(),
                 fmt::format("table '{}' on {}: {}", spec.name,
                             server == nullptr ? "a server" : server->name, known.error().what)};
  }
  return {};
}

Status Membership::knows_rules_of_tables(const Join& join) const {
  for (const auto& table : draft_.tables) {
    const auto known = check_rule(join.rules, table.spec.update, table.spec.dtype);
    if (!known.ok())
      return Error{known.code(),
                   fmt::format("this server cannot hold table '{}', which is open: {}",
                               table.spec.name, known.error().what)};
  }
  return {};
}

// ---- Tables.

void Membership::open_table(Asker asker, NodeId opener, WorkerClock clock, const TableSpec& spec,
                            TimePoint now) {
  const auto* node = draft_.find_node(opener);
  if (node == nullptr)
    return refuse(asker, Errc::fenced, "tables are opened by members of the cluster: join first");
  if (const auto valid = validate(spec); !valid.ok())
    return refuse(asker, valid.code(), valid.error().what);
  if (const auto valid = validate(spec.initializer, spec.dtype); !valid.ok())
    return refuse(asker, valid.code(), valid.error().what);
  if (const auto* known = draft_.find_table(spec.name)) {
    if (const auto same = agrees(known->spec, spec); !same.ok())
      return refuse(asker, same.code(), same.error().what);
    return done(asker, known->id);
  }
  if (!in_roster(opener))
    return refuse(asker, Errc::unknown_name,
                  fmt::format("there is no table '{}', and only workers make tables", spec.name));
  if (const auto known = servers_know_rule(spec); !known.ok())
    return refuse(asker, known.code(), known.error().what);
  // What others have to come for is waited for from the time on when they can.
  if (defer(asker, [=, this](TimePoint then) { open_table(asker, opener, clock, spec, then); }))
    return;
  if (spec.apply_mode() == Apply::collective)
    return open_collective(asker, opener, clock, spec, now);
  if (const auto may = may_make(spec); !may.ok())
    return refuse(asker, may.code(), may.error().what);
  done(asker, make_table(spec, clocks_.global_clock()));
}

Status Membership::may_make(const TableSpec& spec) {
  const auto servers = count_servers();
  if (servers == 0)
    return Error{Errc::not_ready,
                 fmt::format("no server is alive to hold table '{}': start one", spec.name)};
  SHOAL_TRY(servers_know_rule(spec));  // a server may have joined since a collective one was asked
  std::size_t slots = Geometry::choose_slots(spec, servers);
  for (const auto& table : draft_.tables) slots += table.slots.size();
  if (draft_.tables.size() >= kTablesMax || slots > kViewSlotsMax ||
      !fits(bytes_bound(spec, servers)))
    return Error{
        Errc::overloaded,
        fmt::format("table '{}' is one too many: {} tables with {} slots are there, at most "
                    "{} with {} fit; drop some, or use fewer slots",
                    spec.name, draft_.tables.size(), slots, kTablesMax, kViewSlotsMax)};
  // All know the rules of all tables, so the first may speak for them.
  return memory_.has_room(draft_, rules_.front().rules, spec, placement_of(spec));
}

/// Slots go to the servers in equal consecutive runs. Tables with fewer slots than servers take
/// turns, so that many small tables do not all lie on the first.
std::vector<NodeId> Membership::placement_of(const TableSpec& spec) const {
  std::vector<NodeId> servers;
  for (const auto& node : draft_.nodes)
    if (node.role == Role::server && node.state == NodeState::alive) servers.push_back(node.id);
  const std::size_t slots =
      Geometry::choose_slots(spec, static_cast<std::uint32_t>(servers.size()));
  const auto turn = slots < servers.size() ? next_table_ * slots : 0;
  std::vector<NodeId> placed(slots);
  for (std::size_t slot = 0; slot < slots; ++slot)
    placed[slot] = slots < servers.size() ? servers[(turn + slot) % servers.size()]
                                          : servers[slot * servers.size() / slots];
  return placed;
}

TableId Membership::make_table(const TableSpec& spec, WorkerClock start) {
  const auto placed = placement_of(spec);
  TableInfo table;
  table.id = TableId(next_table_++);
  table.spec = spec;
  table.spec.apply = spec.apply_mode();
  table.start = start;
  for (const auto server : placed) {
    auto& chain = table.slots.emplace_back();
    chain.length = 1;
    chain.servers[0] = server;
    chain.since = next_epoch();
  }
  // W only grows: it is what a late joiner's first clock is counted from.
  if (table.spec.apply_mode() != Apply::on_arrival)
    draft_.window = std::max(draft_.window, table.window());
  const auto id = table.id;
  view_bytes_ += bytes_bound(spec, count_servers());
  draft_.tables.push_back(std::move(table));
  changed_ = true;
  return id;
}

void Membership::drop_table(Asker asker, NodeId from, TableId table) {
  if (from.value != 0 && !in_roster(from))
    return refuse(asker, Errc::fenced, "tables are dropped by workers");
  if (const auto* info = draft_.find_table(table)) {
    if (info->spec.layout == Layout::sparse) {
      memory_.forget_sparse();
      sparse_from_ = next_epoch();
    }
    std::erase_if(draft_.tables, [&](const TableInfo& some) { return some.id == table; });
    changed_ = true;
  }
  done(asker);
}

void Membership::set_parameter(Asker asker, NodeId from, TableId id, const SetParameter& change) {
  if (!in_roster(from)) return refuse(asker, Errc::fenced, "parameters are set by workers");
  if (defer(asker, [=, this](TimePoint) { set_parameter(asker, from, id, change); })) return;
  const auto at = std::find_if(draft_.tables.begin(), draft_.tables.end(),
                               [&](const TableInfo& info) { return info.id == id; });
  if (at == draft_.tables.end())
    return refuse(asker, Errc::unknown_name, "set_parameter of a table that is not there");
  if (!std::isfinite(change.value))
    return refuse(asker, Errc::invalid_argument,
                  fmt::format("{} = {} is not a number", change.name, change.value));
  auto changed = at->spec;
  changed.update.parameters = {{change.name, change.value}};
  if (const auto known = servers_know_rule(changed); !known.ok())
    return refuse(asker, known.code(), known.error().what);
  const auto earliest = clocks_.global_clock() + draft_.window;
  auto clock = change.from_clock;
  if (at->spec.apply_mode() == Apply::on_arrival)
    clock = clocks_.global_clock();  // from the view's arrival
  else if (clock < WorkerClock(0))
    clock = earliest;
  if (holds_already(*at, change, clock)) return done(asker);
  if (at->spec.apply_mode() != Apply::on_arrival && clock < earliest)
    return refuse(asker, Errc::out_of_range,
                  fmt::format("table '{}': a parameter can change from clock {} on, not from {}: "
                              "rounds before that may have been folded",
                              at->spec.name, earliest.value, clock.value));
  const auto bytes = 32 + change.name.size();
  if (at->parameters.size() >= kParameterChangesMax || !fits(bytes))
    return refuse(asker, Errc::overloaded,
                  fmt::format("table '{}' has seen {} changes of parameters, the most; a schedule "
                              "that changes every round belongs into the update rule",
                              at->spec.name, at->parameters.size()));
  at->parameters.push_back({change.name, change.value, clock});
  view_bytes_ += bytes;
  changed_ = true;
  done(asker);
}

}  // namespace shoal
