// Who is in the cluster, and the view to be. See docs/design/protocol.md, "Views".

#include "server/scheduler/membership.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/wire/frame.h"
#include "server/scheduler/membership_words.h"

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
  log_info("scheduler", "the cluster is complete: {}, {}", counted(count_servers(), "server"),
           counted(draft_.roster.size(), "worker"));
}

/// After a restart nobody joins until the roster has reported its clocks.
void Membership::admit_waiting(TimePoint now) {
  if (!draft_.formed || recovering()) return;
  for (const auto& pending : std::exchange(joins_, {}))
    admit_late(pending.asker, pending.join, now);
}

std::string Membership::waiting_for() const {
  if (recovering())
    return fmt::format("the scheduler was restarted and waits for {} to report",
                       counted(unreported_.size(), "worker"));
  const auto missing = [](std::uint32_t expected, std::size_t there) {
    return there >= expected ? 0 : expected - static_cast<std::uint32_t>(there);
  };
  return fmt::format("{} of {} servers and {} of {} workers are missing",
                     missing(options_.servers_expected, count_servers()), options_.servers_expected,
                     missing(options_.workers_expected, joins_.size()), options_.workers_expected);
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
  resume(now);
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
