// Who is in the cluster: joining, leases, leaving and dying. See docs/design/protocol.md, "Views"
// and "Liveness".

#include "server/scheduler/membership.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/wire/frame.h"

namespace shoal {

namespace {

/// A view travels as the meta of one frame, behind a Joined; the rest is for what grows by itself
/// (runs of slots that break up when servers are lost).
constexpr std::size_t kViewBytesMax = FrameLimits{}.meta_bytes_max - (64u << 10);
/// What a node adds to an encoded view beside its texts: ids, incarnation, its place in the roster.
constexpr std::size_t kNodeBytesMax = 48;

std::size_t bytes_bound(const Join& join) {
  return kNodeBytesMax + join.name.size() + join.address.size();
}

/// G may rise by this much before the view is stored again: a sync in minutes, not at every tick.
constexpr std::int64_t kClocksPerStore = 1024;
/// Tables that a line of the log names.
constexpr std::size_t kTablesNamed = 8;

/// "server 'ps 1' (node 3, 10.0.0.1:4711)".
std::string described(const NodeInfo& node) {
  return fmt::format("{} '{}' (node {}{}{})", name_of(node.role), node.name, node.id.value,
                     node.address.empty() ? "" : ", ", node.address);
}

std::string seconds(Duration time) {
  return fmt::format("{:g} s", std::chrono::duration<double>(time).count());
}

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
  rules_ = stored->rules;
  memory_ = ServerMemory(stored->memory);
  for (const auto& passed : stored->barriers) passed_[passed.worker] = passed.number;
  clocks_ = ClockTable(stored->view.global_clock);
  clock_bound_ = std::max(stored->clock_bound, stored->view.global_clock);
  for (auto& node : draft_.nodes) {
    vitals_[node.id].last_heard = vitals_[node.id].turned_at = now;
    node.state = NodeState::alive;
  }
  for (const auto& entry : draft_.roster) {
    clocks_.add(entry.worker, std::max(entry.start, stored->view.global_clock));
    unreported_.push_back(entry.worker);
  }
  leases_at_ = now;
}

void Membership::refuse(Asker asker, Errc code, std::string text) {
  answer({asker, code, std::move(text), {}, {}});
}

/// That of the view to be: chains that change say so.
Epoch Membership::next_epoch() const {
  const bool same_term = draft_.epoch.term == committed_.epoch.term;
  return {draft_.epoch.term, same_term ? committed_.epoch.number + 1 : 1};
}

bool Membership::fits(std::size_t bytes_more) const {
  auto bytes = view_bytes_ + bytes_more;
  for (const auto& pending : joins_) bytes += bytes_bound(pending.join);
  return bytes <= kViewBytesMax;
}

NodeInfo* Membership::find_node(NodeId node) {
  return const_cast<NodeInfo*>(draft_.find_node(node));
}

const NodeInfo* Membership::find_incarnation(Role role, Incarnation incarnation) const {
  for (const auto& node : draft_.nodes)
    if (node.role == role && node.incarnation == incarnation) return &node;
  return nullptr;
}

std::uint32_t Membership::count_servers() const {
  return static_cast<std::uint32_t>(
      std::count_if(draft_.nodes.begin(), draft_.nodes.end(), [](const NodeInfo& node) {
        return node.role == Role::server && node.state == NodeState::alive;
      }));
}

/// Whoever has no name is called by its role and a number: a worker by its rank, as it knows
/// itself; others by their id.
const NodeInfo& Membership::add_node(const Join& join, TimePoint now, std::optional<Rank> rank) {
  NodeInfo node;
  node.id = NodeId(next_node_++);
  const auto number = rank ? rank->value : node.id.value;
  node.role = join.role;
  node.incarnation = join.incarnation;
  node.name = join.name.empty() ? fmt::format("{} {}", name_of(join.role), number) : join.name;
  node.address = join.address;
  vitals_[node.id].last_heard = vitals_[node.id].turned_at = now;
  view_bytes_ += bytes_bound(join);
  leases_at_ = std::min(leases_at_, deadline_after(now, lease_of(node)));
  changed_ = true;
  log_info("scheduler", "{} has joined", described(node));
  return draft_.nodes.emplace_back(std::move(node));  // ids grow: sorted
}

bool Membership::has_room(Asker asker, const Join& join) {
  if (draft_.nodes.size() + joins_.size() < kNodesMax && fits(bytes_bound(join))) return true;
  refuse(asker, Errc::overloaded,
         fmt::format("the cluster is full: {} nodes have joined", draft_.nodes.size()));
  return false;
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
  if (const auto* known = find_incarnation(join.role, join.incarnation))
    return answer({asker, Errc::ok, {}, {}, joined_of(*known)});
  if (!has_room(asker, join)) return;
  answer({asker, Errc::ok, {}, {}, joined_of(add_node(join, now))});
}

void Membership::join_server(Asker asker, const Join& join, TimePoint now) {
  if (const auto* known = find_incarnation(Role::server, join.incarnation)) {
    heard(known->id, join.incarnation, 0, now);
    return answer({asker, Errc::ok, {}, {}, joined_of(*known)});
  }
  if (!has_room(asker, join)) return;
  // A new process at an old one's address: the old one is dead for certain.
  NodeId replaced;
  for (const auto& node : draft_.nodes)
    if (node.role == Role::server && node.address == join.address) replaced = node.id;
  if (replaced.value != 0) lost(replaced, "another process listens at its address now");
  if (const auto knows = knows_rules_of_tables(join); !knows.ok()) {
    log_error("scheduler", "a server at {} cannot join: {}", join.address, knows.error().what);
    return refuse(asker, knows.code(), knows.error().what);
  }
  const auto& node = add_node(join, now);
  add_rules(node.id, join.rules);
  memory_.add(node.id, join.memory_bytes);
  answer({asker, Errc::ok, {}, {}, joined_of(node)});
}

void Membership::join_worker(Asker asker, const Join& join, TimePoint now) {
  if (const auto* known = find_incarnation(Role::worker, join.incarnation))
    return answer({asker, Errc::ok, {}, {}, joined_of(*known)});
  for (auto& pending : joins_) {
    if (pending.join.incarnation != join.incarnation) continue;
    pending.asker = asker;
    return;
  }
  if (!has_room(asker, join)) return;
  if (draft_.formed && !recovering()) return admit_late(asker, join, now);
  joins_.push_back({asker, join, deadline_after(now, options_.form_timeout)});
  form_if_complete(now);
}

/// A late joiner starts at G + W, so that no round was folded without it, with the lowest free
/// rank.
void Membership::admit_late(Asker asker, const Join& join, TimePoint now) {
  RosterEntry entry;
  entry.start = options_.join_at_global_clock ? clocks_.global_clock()
                                              : clocks_.global_clock() + draft_.window;
  auto at = draft_.roster.begin();
  while (at != draft_.roster.end() && at->rank == entry.rank) {
    ++at;
    entry.rank = Rank(entry.rank.value + 1);
  }
  const auto& node = add_node(join, now, entry.rank);
  entry.worker = node.id;
  draft_.roster.insert(at, entry);
  clocks_.add(entry.worker, entry.start);
  advance_clocks();  // it may be the only one
  log_info("scheduler", "'{}' is worker {} and begins at clock {}", node.name, entry.rank.value,
           entry.start.value);
  answer({asker, Errc::ok, {}, {}, joined_of(node)});
}

void Membership::form_if_complete(TimePoint now) {
  if (draft_.formed || joins_.size() < options_.workers_expected ||
      count_servers() < options_.servers_expected)
    return;
  draft_.formed = changed_ = true;
  // Ranks go by name, the shorter first, so that "worker 2" is 2 whoever came first; those of the
  // same name, or none, in the order of coming.
  auto joins = std::exchange(joins_, {});
  std::stable_sort(joins.begin(), joins.end(), [](const PendingJoin& a, const PendingJoin& b) {
    return std::pair(a.join.name.size(), std::string_view(a.join.name)) <
           std::pair(b.join.name.size(), std::string_view(b.join.name));
  });
  for (const auto& pending : joins) {
    RosterEntry entry;
    entry.rank = Rank(static_cast<std::uint32_t>(draft_.roster.size()));
    const auto& node = add_node(pending.join, now, entry.rank);
    entry.worker = node.id;
    draft_.roster.push_back(entry);
    clocks_.add(entry.worker, entry.start);
    answer({pending.asker, Errc::ok, {}, {}, joined_of(node)});
  }
  log_info("scheduler", "the cluster is complete: {} servers, {} workers", count_servers(),
           draft_.roster.size());
}

/// After a restart nobody joins until the roster has reported its clocks.
void Membership::admit_waiting(TimePoint now) {
  if (!draft_.formed || recovering()) return;
  for (const auto& pending : std::exchange(joins_, {}))
    admit_late(pending.asker, pending.join, now);
}

std::string Membership::waiting_for() const {
  if (recovering())
    return fmt::format("the scheduler was restarted and waits for {} workers to report",
                       unreported_.size());
  const auto missing = [](std::uint32_t expected, std::size_t there) {
    return there >= expected ? 0 : expected - static_cast<std::uint32_t>(there);
  };
  return fmt::format("{} of {} servers and {} of {} workers are missing",
                     missing(options_.servers_expected, count_servers()), options_.servers_expected,
                     missing(options_.workers_expected, joins_.size()), options_.workers_expected);
}

// ---- Leaving and dying.

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
               seconds(stood));
    vitals.turns = turns;
    vitals.turned_at = now;
    vitals.hung = false;
  } else if (node.role == Role::server && !vitals.hung && stood >= options_.server_lease) {
    vitals.hung = true;
    log_warn("scheduler",
             "{} beats, but its loop has stood still for {}: it hangs in an update rule, in its "
             "memory (swap), or in a defect; its stack says where (gdb -p)",
             described(node), seconds(stood));
  }
}

void Membership::suspect(NodeId node) {
  auto* info = find_node(node);
  if (info == nullptr || info->role != Role::server || info->state == NodeState::suspect) return;
  info->state = NodeState::suspect;
  changed_ = true;
  log_warn("scheduler", "{} is silent; its slots are lost in {} unless it comes back",
           described(*info), seconds(options_.lost_after));
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
      ", and the rows of {} slots that only it held are gone (tables '{}'{})", slots,
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
               seconds(options_.worker_lease));
      drop_worker(info.id);
    } else if (info.state == NodeState::suspect) {
      lost(info.id, fmt::format("silent for {} (lost_after)", seconds(options_.lost_after)));
    } else {
      suspect(info.id);
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
             "{} (node {}) is {} clocks behind the fastest and is dropped (straggler_limit = {})",
             find_node(entry.worker)->name, entry.worker.value,
             fastest_ - *clocks_.reported(entry.worker), options_.straggler_limit);
    drop_worker(entry.worker);
  }
}

/// True: it waited for something.
bool Membership::take_back(Asker asker) {
  const auto is_his = [&](const auto& pending) { return pending.asker == asker; };
  const auto waited = std::erase_if(joins_, is_his) + std::erase_if(deferred_, is_his);
  const bool opened = take_back_open(asker);
  const bool arrived = take_back_arrival(asker);
  return waited > 0 || opened || arrived;
}

void Membership::cancel(Asker asker) {
  auto why = why_waiting(asker);
  if (take_back(asker)) refuse(asker, Errc::cancelled, std::move(why));
}

void Membership::forget(Asker asker) {
  const auto is_his = [&](const auto& pending) { return pending.asker == asker; };
  std::erase_if(answers_, is_his);
  std::erase_if(ready_, is_his);
  take_back(asker);
}

// ---- Time and the view.

void Membership::poll(TimePoint now) {
  check_leases(now);
  check_stragglers();
  const auto late = [&](const auto& pending) { return pending.until <= now; };
  if (!joins_.empty()) {
    for (const auto& pending : joins_)
      if (late(pending))
        refuse(pending.asker, Errc::timed_out,
               fmt::format("the cluster is not complete: {}", waiting_for()));
    std::erase_if(joins_, late);
    form_if_complete(now);
    admit_waiting(now);
  } else if (options_.workers_expected == 0) {
    form_if_complete(now);
  }
  resume();
  expire_opens(now);
}

TimePoint Membership::next_timer() const {
  auto next = leases_at_;
  for (const auto& pending : joins_) next = std::min(next, pending.until);
  for (const auto& [name, pending] : opens_) next = std::min(next, pending.until);
  return next;
}

StoredView Membership::stamped() {
  draft_.epoch = next_epoch();
  draft_.global_clock = clocks_.global_clock();
  clock_bound_ = clocks_.global_clock() + kClocksPerStore;
  StoredView stored{draft_, next_node_, next_table_, clock_bound_, {}, rules_, memory_.stored()};
  for (const auto& [worker, number] : passed_) stored.barriers.push_back({worker, number});
  std::sort(stored.barriers.begin(), stored.barriers.end(),
            [](const auto& a, const auto& b) { return a.worker < b.worker; });
  return stored;
}

void Membership::commit(std::size_t encoded_bytes) {
  committed_ = draft_;
  view_bytes_ = encoded_bytes;
  changed_ = false;
}

std::vector<Membership::Answer> Membership::take_answers() {
  // An answer that speaks of a view waits until that view is stored.
  if (!changed_) {
    std::move(answers_.begin(), answers_.end(), std::back_inserter(ready_));
    answers_.clear();
  }
  return std::exchange(ready_, {});
}

}  // namespace shoal
