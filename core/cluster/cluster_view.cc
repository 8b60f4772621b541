#include "core/cluster/cluster_view.h"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>

#include "core/cluster/view_codec.h"
#include "core/wire/varint.h"

namespace shoal {

namespace {

Error nonsense(std::string what) {
  return {Errc::protocol, fmt::format("a cluster view that makes no sense: {}", what)};
}

template <class Range, class Key>
bool strictly_rising(const Range& range, Key key) {
  return std::adjacent_find(range.begin(), range.end(), [&](const auto& a, const auto& b) {
           return key(a) >= key(b);
         }) == range.end();
}

template <class Items, class Id, class Key>
const typename Items::value_type* find_sorted(const Items& items, Id id, Key key) {
  const auto at = std::lower_bound(items.begin(), items.end(), id,
                                   [&](const auto& item, Id wanted) { return key(item) < wanted; });
  return at != items.end() && key(*at) == id ? &*at : nullptr;
}

Status check_nodes(const ClusterView& view) {
  if (view.nodes.size() > kNodesMax) return nonsense("too many nodes");
  if (!strictly_rising(view.nodes, [](const NodeInfo& n) { return n.id; }))
    return nonsense("nodes are not in the order of their ids");
  for (const auto& node : view.nodes) {
    if (node.id.value == 0) return nonsense("node 0");
    if (node.name.size() > kNodeNameBytesMax || node.address.size() > kNodeAddressBytesMax)
      return nonsense("an oversized name");
    if (node.role == Role::server && node.address.empty())
      return nonsense("a server without an address");
  }
  return {};
}

Status check_chain(const ClusterView& view, const SlotChain& chain) {
  if (chain.since > view.epoch) return nonsense("a chain newer than its view");
  if (chain.length > SlotChain::kServersMax || (chain.filling && chain.length < 2))
    return nonsense("a chain's length");
  for (std::size_t i = 0; i < SlotChain::kServersMax; ++i) {
    const auto id = chain.servers[i];
    if (i >= chain.length) {
      if (id.value != 0) return nonsense("a server behind its chain's end");
      continue;
    }
    const auto* server = view.find_node(id);
    if (server == nullptr || server->role != Role::server)
      return nonsense("a chain of what is no server");
    if (std::find(chain.servers, chain.servers + i, id) != chain.servers + i)
      return nonsense("a server twice in a chain");
  }
  return {};
}

Status check_table(const ClusterView& view, const TableInfo& table) {
  if (table.id.value == 0) return nonsense("table 0");
  if (const auto valid = validate(table.spec); !valid.ok()) return nonsense(valid.error().what);
  if (table.start.value < 0 || table.start > kClockMax) return nonsense("a table's start");
  if (table.slots.empty()) return nonsense("a table without slots");
  if (table.spec.layout == Layout::dense ? table.slots.size() > Geometry::segment_count(table.spec)
                                         : !std::has_single_bit(table.slots.size()))
    return nonsense("a table's number of slots");
  if (table.parameters.size() > kParameterChangesMax) return nonsense("too many parameter changes");
  const SlotChain* checked = nullptr;
  for (const auto& chain : table.slots) {
    if (checked != nullptr && *checked == chain) continue;
    SHOAL_TRY(check_chain(view, chain));
    checked = &chain;
  }
  return {};
}

Status check_tables(const ClusterView& view) {
  if (view.tables.size() > kTablesMax) return nonsense("too many tables");
  if (!strictly_rising(view.tables, [](const TableInfo& t) { return t.id; }))
    return nonsense("tables are not in the order of their ids");
  std::unordered_set<std::string_view> names;
  std::size_t slots = 0;
  for (const auto& table : view.tables) {
    SHOAL_TRY(check_table(view, table));
    if (!names.insert(table.spec.name).second) return nonsense("two tables of one name");
    slots += table.slots.size();
  }
  if (slots > kViewSlotsMax) return nonsense("too many slots");
  return {};
}

Status check_roster(const ClusterView& view) {
  if (!strictly_rising(view.roster, [](const RosterEntry& r) { return r.rank; }))
    return nonsense("the roster is not in the order of ranks");
  if (!view.formed && !view.roster.empty()) return nonsense("a roster before it was formed");
  std::unordered_set<NodeId> workers;
  for (const auto& entry : view.roster) {
    const auto* worker = view.find_node(entry.worker);
    if (worker == nullptr || worker->role != Role::worker)
      return nonsense("a roster of what is no worker");
    if (!workers.insert(entry.worker).second) return nonsense("a worker twice in the roster");
    if (entry.start.value < 0 || entry.start > kClockMax) return nonsense("a worker's start");
  }
  return {};
}

// ---- Deltas: for each list, the keys that are gone, then the items that are new or changed.

template <class Items, class Key, class Put>
void put_changes(Writer& out, const Items& from, const Items& to, Key key, Put put_item) {
  std::vector<std::uint64_t> gone;
  std::vector<const typename Items::value_type*> changed;
  for (const auto& item : from)
    if (find_sorted(to, key(item), key) == nullptr) gone.push_back(key(item).value);
  for (const auto& item : to)
    if (const auto* old = find_sorted(from, key(item), key); old == nullptr || *old != item)
      changed.push_back(&item);
  put_varint(out, gone.size());
  for (const auto id : gone) put_varint(out, id);
  put_varint(out, changed.size());
  for (const auto* item : changed) put_item(*item);
}

template <class Items, class Key>
void remove_gone(Reader& in, Items& items, Key key) {
  std::unordered_set<std::uint64_t> gone;
  const auto count = get_varint(in, items.size());
  for (std::uint64_t i = 0; i < count && in.ok(); ++i)
    if (!gone.insert(get_varint(in)).second) in.fail();
  std::erase_if(items, [&](const auto& item) { return gone.contains(key(item).value); });
}

/// Replaces items by those with the same key and puts in new ones; both lists are in order.
template <class Items, class Key>
void merge(Reader& in, Items& items, Items& changed, Key key) {
  if (!strictly_rising(changed, key)) return in.fail();
  Items merged;
  merged.reserve(items.size() + changed.size());
  auto at = items.begin();
  for (auto& item : changed) {
    while (at != items.end() && key(*at) < key(item)) merged.push_back(std::move(*at++));
    if (at != items.end() && key(*at) == key(item)) ++at;
    merged.push_back(std::move(item));
  }
  std::move(at, items.end(), std::back_inserter(merged));
  items = std::move(merged);
}

constexpr auto node_key = [](const NodeInfo& n) { return n.id; };
constexpr auto table_key = [](const TableInfo& t) { return t.id; };
constexpr auto rank_key = [](const RosterEntry& r) { return r.rank; };

/// A table that both views have: its parameters if they changed, and runs of changed slots.
void put_table_change(Writer& out, const TableInfo& from, const TableInfo& to) {
  const bool parameters = from.parameters != to.parameters;
  out.put_bool(parameters);
  if (parameters) view_codec::put_parameters(out, to.parameters);
  struct Run {
    std::size_t first, count;
  };
  std::vector<Run> runs;
  for (std::size_t i = 0; i < to.slots.size(); ++i) {
    if (from.slots[i] == to.slots[i]) continue;
    if (!runs.empty() && runs.back().first + runs.back().count == i &&
        to.slots[runs.back().first] == to.slots[i])
      ++runs.back().count;
    else
      runs.push_back({i, 1});
  }
  put_varint(out, runs.size());
  view_codec::ChainWriter chains(out);
  std::size_t end = 0;
  for (const auto& run : runs) {
    put_varint(out, run.first - end);
    put_varint(out, run.count);
    chains.put(to.slots[run.first]);
    end = run.first + run.count;
  }
}

void get_table_change(Reader& in, TableInfo& table) {
  if (in.get_bool()) table.parameters = view_codec::get_parameters(in);
  const auto runs = get_varint(in, table.slots.size());
  view_codec::ChainReader chains(in);
  std::size_t end = 0;
  for (std::uint64_t i = 0; i < runs && in.ok(); ++i) {
    const auto first = end + get_varint(in, table.slots.size() - end);
    const auto count = get_varint(in, table.slots.size() - first);
    const auto chain = chains.get();
    if (!in.ok()) return;
    std::fill_n(table.slots.begin() + static_cast<std::ptrdiff_t>(first), count, chain);
    end = first + count;
  }
}

void get_tables_delta(Reader& in, ClusterView& view) {
  remove_gone(in, view.tables, table_key);
  std::size_t slots_left = kViewSlotsMax;
  for (const auto& table : view.tables) slots_left -= std::min(slots_left, table.slots.size());
  std::vector<TableInfo> changed;
  const auto count = get_varint(in, kTablesMax);
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    if (!in.get_bool()) {
      changed.push_back(view_codec::get_table(in, slots_left));
      continue;
    }
    const TableId id(static_cast<std::uint32_t>(get_varint(in, 0xffffffffu)));
    auto at = std::lower_bound(view.tables.begin(), view.tables.end(), id,
                               [](const TableInfo& t, TableId wanted) { return t.id < wanted; });
    if (at == view.tables.end() || at->id != id) return in.fail();
    get_table_change(in, *at);
  }
  merge(in, view.tables, changed, table_key);
}

}  // namespace

std::string_view name_of(Role role) {
  switch (role) {
    case Role::server:
      return "server";
    case Role::worker:
      return "worker";
    case Role::observer:
      return "observer";
  }
  return "?";
}

const NodeInfo* ClusterView::find_node(NodeId id) const { return find_sorted(nodes, id, node_key); }
const TableInfo* ClusterView::find_table(TableId id) const {
  return find_sorted(tables, id, table_key);
}
const TableInfo* ClusterView::find_table(std::string_view name) const {
  const auto at = std::find_if(tables.begin(), tables.end(),
                               [&](const TableInfo& t) { return t.spec.name == name; });
  return at == tables.end() ? nullptr : &*at;
}
const RosterEntry* ClusterView::find_worker(NodeId id) const {
  const auto at = std::find_if(roster.begin(), roster.end(),
                               [&](const RosterEntry& r) { return r.worker == id; });
  return at == roster.end() ? nullptr : &*at;
}

Status check(const ClusterView& view) {
  if (view.global_clock.value < 0 || view.global_clock > kClockMax) return nonsense("its clock");
  if (view.window < 2 || view.window > kStalenessMax + 2) return nonsense("its window");
  SHOAL_TRY(check_nodes(view));
  SHOAL_TRY(check_tables(view));
  return check_roster(view);
}

std::vector<std::byte> encode_view(const ClusterView& view) {
  return encode_growing(4096, [&](Writer& out) {
    view_codec::put_head(out, view);
    put_varint(out, view.nodes.size());
    for (const auto& node : view.nodes) view_codec::put(out, node);
    put_varint(out, view.tables.size());
    for (const auto& table : view.tables) view_codec::put(out, table);
    put_varint(out, view.roster.size());
    for (const auto& entry : view.roster) view_codec::put(out, entry);
  });
}

Result<ClusterView> decode_view(std::span<const std::byte> bytes) {
  Reader in(bytes);
  ClusterView view;
  view_codec::get_head(in, view);
  // Each item takes bytes, so that a forged count ends with the frame.
  const auto nodes = get_varint(in, kNodesMax);
  for (std::uint64_t i = 0; i < nodes && in.ok(); ++i)
    view.nodes.push_back(view_codec::get_node(in));
  const auto tables = get_varint(in, kTablesMax);
  std::size_t slots_left = kViewSlotsMax;
  for (std::uint64_t i = 0; i < tables && in.ok(); ++i)
    view.tables.push_back(view_codec::get_table(in, slots_left));
  const auto roster = get_varint(in, kNodesMax);
  for (std::uint64_t i = 0; i < roster && in.ok(); ++i)
    view.roster.push_back(view_codec::get_roster_entry(in));
  SHOAL_TRY(in.finish("cluster view"));
  SHOAL_TRY(check(view));
  return view;
}

std::vector<std::byte> encode_delta(const ClusterView& from, const ClusterView& to) {
  return encode_growing(1024, [&](Writer& out) {
    out.put(from.epoch.packed());
    view_codec::put_head(out, to);
    put_changes(out, from.nodes, to.nodes, node_key,
                [&](const NodeInfo& node) { view_codec::put(out, node); });
    put_changes(out, from.tables, to.tables, table_key, [&](const TableInfo& table) {
      const auto* old = from.find_table(table.id);
      // Ids are never reused, so a table that both have is the same table.
      out.put_bool(old != nullptr);
      if (old == nullptr) return view_codec::put(out, table);
      put_varint(out, table.id.value);
      put_table_change(out, *old, table);
    });
    put_changes(out, from.roster, to.roster, rank_key,
                [&](const RosterEntry& entry) { view_codec::put(out, entry); });
  });
}

Result<ClusterView> apply_delta(const ClusterView& from, std::span<const std::byte> delta) {
  Reader in(delta);
  const auto base = Epoch::unpacked(in.get<std::uint64_t>());
  if (in.ok() && base != from.epoch)
    return Error{Errc::stale_view,
                 fmt::format("a delta from view {}.{} does not fit view {}.{}", base.term,
                             base.number, from.epoch.term, from.epoch.number)};
  ClusterView view = from;
  view_codec::get_head(in, view);
  remove_gone(in, view.nodes, node_key);
  std::vector<NodeInfo> nodes;
  const auto node_count = get_varint(in, kNodesMax);
  for (std::uint64_t i = 0; i < node_count && in.ok(); ++i)
    nodes.push_back(view_codec::get_node(in));
  merge(in, view.nodes, nodes, node_key);
  get_tables_delta(in, view);
  remove_gone(in, view.roster, rank_key);
  std::vector<RosterEntry> entries;
  const auto entry_count = get_varint(in, kNodesMax);
  for (std::uint64_t i = 0; i < entry_count && in.ok(); ++i)
    entries.push_back(view_codec::get_roster_entry(in));
  merge(in, view.roster, entries, rank_key);
  SHOAL_TRY(in.finish("delta of a cluster view"));
  if (view.epoch <= from.epoch)
    return Error{Errc::protocol, "a delta of a cluster view that goes back"};
  SHOAL_TRY(check(view));
  return view;
}

}  // namespace shoal
