#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/table/geometry.h"
#include "core/table/table_spec.h"
#include "core/wire/codec.h"

// Who is in the cluster and what is where: immutable, epoch-stamped, made by the scheduler only.
// See docs/design/protocol.md, "Views".

namespace shoal {

/// What a view may hold; beyond it the scheduler answers Errc::overloaded, and a reader refuses.
inline constexpr std::size_t kNodesMax = 16384;
inline constexpr std::size_t kTablesMax = 4096;
inline constexpr std::size_t kViewSlotsMax = kSlotsMax;    ///< of all tables together
inline constexpr std::size_t kParameterChangesMax = 4096;  ///< of one table
/// No honest worker reaches it; leaves room for sums of clocks and windows.
inline constexpr WorkerClock kClockMax{std::int64_t{1} << 62};
inline constexpr std::size_t kNodeNameBytesMax = 128;
inline constexpr std::size_t kNodeAddressBytesMax = 280;

enum class Role : std::uint8_t {
  server = 0,
  worker = 1,
  observer = 2,  ///< Pulls, never pushes, is never waited for.
};

std::string_view name_of(Role role);

enum class NodeState : std::uint8_t {
  alive = 0,
  suspect = 1,  ///< Silent for a lease; keeps its id and slots.
};

/// A process of the cluster. One that left, died or was given up is in no later view.
struct NodeInfo {
  NodeId id;
  Role role = Role::server;
  NodeState state = NodeState::alive;
  Incarnation incarnation;
  std::string name;     ///< For people: "server 0", or what the operator chose.
  std::string address;  ///< "host:port" where it listens; empty for workers.

  friend bool operator==(const NodeInfo&, const NodeInfo&) = default;
};

/// The servers of one slot, head first. Empty: the slot is lost.
struct SlotChain {
  static constexpr std::size_t kServersMax = 4;
  std::uint8_t length = 0;
  bool filling = false;  ///< The last server is catching up and serves nobody.
  NodeId servers[kServersMax] = {};
  Epoch since;  ///< The view that made this chain.

  bool lost() const { return length == 0; }
  NodeId head() const { return servers[0]; }
  /// The last complete server: who answers pulls.
  NodeId tail() const {
    const int last = length - (filling ? 2 : 1);
    return servers[last < 0 ? 0 : last];
  }
  friend bool operator==(const SlotChain&, const SlotChain&) = default;
};

/// A parameter of a table's update rule, changed while training: holds for clocks >= from_clock
/// (per_clock, collective) or from the view's arrival (on_arrival).
struct ParameterChange {
  std::string name;
  double value = 0;
  WorkerClock from_clock;

  friend bool operator==(const ParameterChange&, const ParameterChange&) = default;
};

/// A table of the catalogue.
struct TableInfo {
  TableId id;
  TableSpec spec;
  WorkerClock start;             ///< G when it was made: the version its segments begin with.
  std::vector<SlotChain> slots;  ///< Geometry(spec, slots.size()) says which rows.
  std::vector<ParameterChange> parameters;  ///< In the order of the changes.

  Geometry geometry() const { return {spec, static_cast<std::uint32_t>(slots.size())}; }
  std::int64_t window() const { return spec.window(); }
  friend bool operator==(const TableInfo&, const TableInfo&) = default;
};

/// A live worker. Workers not in the roster are fenced.
struct RosterEntry {
  NodeId worker;
  Rank rank;
  WorkerClock start;        ///< Its first clock: 0, or G + W for a late joiner.
  std::uint32_t group = 0;  ///< Workers of one group share a machine's GPUs; reserved.

  friend bool operator==(const RosterEntry&, const RosterEntry&) = default;
};

/// An immutable picture of the cluster, shared by pointer: `std::shared_ptr<const ClusterView>`.
struct ClusterView {
  Epoch epoch;
  WorkerClock global_clock;         ///< G when the view was made.
  std::int64_t window = 2;          ///< W: the largest window there ever was.
  bool formed = false;              ///< The first roster has been made.
  std::vector<NodeInfo> nodes;      ///< By id.
  std::vector<TableInfo> tables;    ///< By id.
  std::vector<RosterEntry> roster;  ///< By rank.

  const NodeInfo* find_node(NodeId id) const;
  const TableInfo* find_table(TableId id) const;
  const TableInfo* find_table(std::string_view name) const;
  const RosterEntry* find_worker(NodeId id) const;
  friend bool operator==(const ClusterView&, const ClusterView&) = default;
};

using ViewPtr = std::shared_ptr<const ClusterView>;

/// Errc::protocol unless the view makes sense: ids sorted, unique and within the limits above,
/// chains of known servers, a roster of known workers. Every decoded view has passed it.
Status check(const ClusterView& view);

/// Encodes the full view; the buffer grows as needed (views are not on the message path). Equal
/// views have equal bytes.
std::vector<std::byte> encode_view(const ClusterView& view);
/// Errc::protocol for bytes that no encode_view makes.
Result<ClusterView> decode_view(std::span<const std::byte> bytes);

/// What changed from `from` to `to`: nodes and tables that are new, changed or gone, runs of
/// changed slots, the roster if it changed. 0.7 KB when a server of a thousand dies.
std::vector<std::byte> encode_delta(const ClusterView& from, const ClusterView& to);
/// Applies a delta. Errc::stale_view if it does not start at `from`'s epoch: ask for the full view.
Result<ClusterView> apply_delta(const ClusterView& from, std::span<const std::byte> delta);

}  // namespace shoal
