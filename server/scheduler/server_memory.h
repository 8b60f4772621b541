#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "core/table/rule_info.h"
#include "server/scheduler/view_store.h"
#include "server/store/dense_memory.h"

namespace shoal {

/// What every server has for tables, as it said when it joined. Dense tables take all that they
/// need when they are made, so the scheduler refuses one that has no room; sparse ones grow: a
/// server tells what they hold with its traffic, and says when they cannot.
class ServerMemory {
 public:
  ServerMemory() = default;
  explicit ServerMemory(const std::vector<MemoryOfServer>& stored);

  void add(NodeId server, std::uint64_t bytes) { bytes_[server] = bytes; }
  void remove(NodeId server) {
    bytes_.erase(server);
    sparse_.erase(server);
  }
  void set_sparse(NodeId server, std::uint64_t bytes) {
    if (bytes_.contains(server)) sparse_[server] = bytes;
  }
  /// A sparse table has gone: what they held is not known until the servers have told it again.
  void forget_sparse() { sparse_.clear(); }
  std::vector<MemoryOfServer> stored() const;

  /// Whether a dense table fits beside those of `view`, slot i on the server placed[i]. `rules`:
  /// of the servers, who know the rule of every table. Errors: no_memory (says where what is
  /// missing, and what to do).
  Status has_room(const ClusterView& view, std::span<const RuleInfo> rules, const TableSpec& spec,
                  std::span<const NodeId> placed) const;

 private:
  std::map<NodeId, std::uint64_t> bytes_;
  std::map<NodeId, std::uint64_t> sparse_;
};

}  // namespace shoal
