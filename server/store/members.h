#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/base/ids.h"
#include "core/cluster/cluster_view.h"

namespace shoal {

/// A worker's place in this server's tables: small, dense, reused after the worker has gone.
using MemberIndex = std::uint32_t;

/// The roster as a server keeps it: every live worker has a MemberIndex for as long as it lives, so
/// that sequences and contributions are arrays. See docs/design/consistency.md.
class Members {
 public:
  struct Member {
    NodeId node;
    Rank rank;
    WorkerClock start;
    bool live = false;
  };
  static constexpr MemberIndex kNone = 0xffffffff;

  /// Takes over a view's roster. Returns the members that are gone; their indices are reused only
  /// by the next update.
  std::span<const MemberIndex> update(const ClusterView& view);

  /// kNone: not in the roster.
  MemberIndex find(NodeId node) const {
    const auto it = index_.find(node);
    return it == index_.end() ? kNone : it->second;
  }
  const Member& operator[](MemberIndex index) const { return members_[index]; }
  /// How many indices are in use, gaps included.
  std::size_t bound() const { return members_.size(); }
  std::size_t size() const { return by_rank_.size(); }
  /// The live members, by rank.
  std::span<const MemberIndex> by_rank() const { return by_rank_; }
  /// How many live members take part in clock c: those that started at c or before.
  std::size_t taking_part(WorkerClock c) const {
    if (c >= newest_start_) return by_rank_.size();
    std::size_t count = 0;
    for (const auto m : by_rank_) count += members_[m].start <= c ? 1 : 0;
    return count;
  }

 private:
  std::vector<Member> members_;
  std::vector<MemberIndex> by_rank_;
  std::vector<MemberIndex> gone_;
  std::unordered_map<NodeId, MemberIndex> index_;
  WorkerClock newest_start_;
};

}  // namespace shoal
