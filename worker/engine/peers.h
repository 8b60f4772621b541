#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/cluster/cluster_view.h"
#include "transport/session.h"
#include "worker/engine/engine.h"

namespace shoal {

/// A server of the view and the session to it.
struct Engine::Server {
  NodeId id;
  Incarnation incarnation;
  std::string who;  ///< for people
  std::unique_ptr<Session> session;
  EndpointId endpoint;         ///< under which `by_endpoint_` knows it
  std::uint32_t refusals = 0;  ///< since it was last open: reported to the scheduler once
  std::uint32_t early = 0;     ///< pulls there that were not admissible when they were posted
};

/// A table of the view and this worker's place in it.
struct Engine::Table {
  TableShape shape;
  const TableInfo* info = nullptr;       ///< in seen_view_; null: dropped
  std::vector<Sequence> next_q;          ///< by slot: what the next part gets
  std::vector<std::uint32_t> slot_rank;  ///< by slot: its place when ordered by server
  std::vector<NodeId> last_server;       ///< by slot: the last that it had; 0: lost before we came
  std::vector<std::uint64_t> contributed;  ///< collective: rows by segment, of the current clock
  std::uint64_t contributed_rows = 0;      ///< and of all segments
  std::uint32_t pushes = 0;  ///< requests with sequence numbers of it that have not ended

  /// Where the entries of a slot's segments can be READ. bytes 0: not known.
  struct Directory {
    RemoteSpan entries;
    std::uint64_t since = 0;  ///< of the slot's chain
  };
  std::vector<Directory> directories;  ///< by slot
  /// Servers that were asked for theirs: they have not answered yet, or refused.
  struct Asked {
    NodeId server;
  };
  std::vector<Asked> asked;

  explicit Table(const TableInfo& table)
      : shape{table.id, table.spec, table.geometry(), table.spec.row_bytes(),
              table.spec.row_bytes() * table.spec.update.inputs},
        next_q(table.slots.size(), Sequence(1)),
        last_server(table.slots.size()),
        directories(table.slots.size()) {
    if (collective()) contributed.assign(shape.geometry.segments(), 0);
  }
  /// Dropped: only the shape, which tables of the user name, is kept.
  void forget() {
    next_q = std::vector<Sequence>();
    slot_rank = std::vector<std::uint32_t>();
    last_server = std::vector<NodeId>();
    directories = std::vector<Directory>();
    contributed = std::vector<std::uint64_t>();
    contributed_rows = 0;
  }
  bool has_contributed(const Operation& op) const;
  bool collective() const { return shape.spec.apply_mode() == Apply::collective; }
  const SlotChain& chain(SlotIndex slot) const { return info->slots[slot.value]; }
};

}  // namespace shoal
