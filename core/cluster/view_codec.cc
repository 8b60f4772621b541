#include "core/cluster/view_codec.h"

#include <algorithm>
#include <limits>

#include "core/wire/varint.h"

namespace shoal::view_codec {

namespace {

// A chain's first byte.
constexpr std::uint8_t kLengthMask = 7;
constexpr std::uint8_t kFilling = 8;
constexpr std::uint8_t kSameSince = 16;

/// A clock is never negative.
void put_clock(Writer& out, WorkerClock clock) {
  put_varint(out, static_cast<std::uint64_t>(clock.value));
}
WorkerClock get_clock(Reader& in) {
  return WorkerClock(static_cast<std::int64_t>(
      get_varint(in, static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))));
}

template <class Id>
void put_id(Writer& out, Id id) {
  put_varint(out, id.value);
}
template <class Id>
Id get_id(Reader& in) {
  using Rep = typename Id::rep;
  return Id(static_cast<Rep>(get_varint(in, std::numeric_limits<Rep>::max())));
}

void put_text(Writer& out, const std::string& text) {
  put_varint(out, text.size());
  out.put_bytes(std::as_bytes(std::span(text)));
}
std::string get_text(Reader& in, std::size_t bytes_max) {
  const auto n = get_varint(in, bytes_max);
  const auto bytes = in.get_bytes(n);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void put_epoch(Writer& out, Epoch epoch) {
  put_varint(out, epoch.term);
  put_varint(out, epoch.number);
}
Epoch get_epoch(Reader& in) {
  Epoch epoch;
  epoch.term = static_cast<std::uint32_t>(get_varint(in, 0xffffffffu));
  epoch.number = static_cast<std::uint32_t>(get_varint(in, 0xffffffffu));
  return epoch;
}

}  // namespace

void put(Writer& out, const NodeInfo& node) {
  put_id(out, node.id);
  out.put(node.role);
  out.put(node.state);
  out.put(node.incarnation);
  put_text(out, node.name);
  put_text(out, node.address);
}

NodeInfo get_node(Reader& in) {
  NodeInfo node;
  node.id = get_id<NodeId>(in);
  node.role = in.get_enum<Role>(3);
  node.state = in.get_enum<NodeState>(2);
  node.incarnation = in.get<Incarnation>();
  node.name = get_text(in, kNodeNameBytesMax);
  node.address = get_text(in, kNodeAddressBytesMax);
  return node;
}

void put(Writer& out, const RosterEntry& entry) {
  put_id(out, entry.rank);
  put_id(out, entry.worker);
  put_clock(out, entry.start);
  put_varint(out, entry.group);
}

RosterEntry get_roster_entry(Reader& in) {
  RosterEntry entry;
  entry.rank = get_id<Rank>(in);
  entry.worker = get_id<NodeId>(in);
  entry.start = get_clock(in);
  entry.group = static_cast<std::uint32_t>(get_varint(in, 0xffffffffu));
  return entry;
}

void ChainWriter::put(const SlotChain& chain) {
  const bool same = chain.since == since_;
  out_.put(static_cast<std::uint8_t>(chain.length | (chain.filling ? kFilling : 0) |
                                     (same ? kSameSince : 0)));
  for (std::size_t i = 0; i < chain.length; ++i) put_id(out_, chain.servers[i]);
  if (!same) put_epoch(out_, chain.since);
  since_ = chain.since;
}

SlotChain ChainReader::get() {
  SlotChain chain;
  const auto bits = in_.get<std::uint8_t>();
  chain.length = bits & kLengthMask;
  chain.filling = (bits & kFilling) != 0;
  if (bits > (kLengthMask | kFilling | kSameSince) || chain.length > SlotChain::kServersMax ||
      (chain.filling && chain.length < 2)) {
    in_.fail();
    return {};
  }
  for (std::size_t i = 0; i < chain.length; ++i) chain.servers[i] = get_id<NodeId>(in_);
  if ((bits & kSameSince) != 0) {
    chain.since = since_;
  } else {
    chain.since = get_epoch(in_);
    if (chain.since == since_) in_.fail();
  }
  since_ = chain.since;
  return chain;
}

void put_parameters(Writer& out, const std::vector<ParameterChange>& parameters) {
  put_varint(out, parameters.size());
  for (const auto& change : parameters) {
    put_text(out, change.name);
    out.put(change.value);
    put_clock(out, change.from_clock);
  }
}

std::vector<ParameterChange> get_parameters(Reader& in) {
  std::vector<ParameterChange> parameters;
  const auto count = get_varint(in, kParameterChangesMax);
  for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
    auto& change = parameters.emplace_back();
    change.name = get_text(in, kTableNameBytesMax);
    change.value = in.get<double>();
    change.from_clock = get_clock(in);
  }
  return parameters;
}

void put(Writer& out, const TableInfo& table) {
  put_id(out, table.id);
  encode(out, table.spec);
  put_clock(out, table.start);
  put_parameters(out, table.parameters);
  // Runs of slots with equal chains: a table's slots lie on servers in consecutive runs.
  put_varint(out, table.slots.size());
  ChainWriter chains(out);
  for (auto at = table.slots.begin(); at != table.slots.end();) {
    const auto end = std::find_if(at, table.slots.end(), [&](const auto& c) { return c != *at; });
    put_varint(out, static_cast<std::uint64_t>(end - at));
    chains.put(*at);
    at = end;
  }
}

TableInfo get_table(Reader& in, std::size_t& slots_left) {
  TableInfo table;
  table.id = get_id<TableId>(in);
  table.spec = decode_table_spec(in);
  table.start = get_clock(in);
  table.parameters = get_parameters(in);
  const auto slots = get_varint(in, slots_left);
  slots_left -= slots;
  ChainReader chains(in);
  while (in.ok() && table.slots.size() < slots) {
    const auto count = get_varint(in, slots - table.slots.size());
    const auto chain = chains.get();
    if (count == 0 || (!table.slots.empty() && table.slots.back() == chain)) in.fail();
    if (in.ok()) table.slots.insert(table.slots.end(), count, chain);
  }
  return table;
}

void put_head(Writer& out, const ClusterView& view) {
  out.put(view.epoch.packed());
  out.put(view.global_clock);
  out.put(view.window);
  out.put_bool(view.formed);
}

void get_head(Reader& in, ClusterView& view) {
  view.epoch = Epoch::unpacked(in.get<std::uint64_t>());
  view.global_clock = in.get<WorkerClock>();
  view.window = in.get<std::int64_t>();
  view.formed = in.get_bool();
}

}  // namespace shoal::view_codec
