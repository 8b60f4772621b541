#include "server/store/members.h"

#include <algorithm>

namespace shoal {

std::span<const MemberIndex> Members::update(const ClusterView& view) {
  std::vector<MemberIndex> free;
  for (MemberIndex m = 0; m < members_.size(); ++m)
    if (!members_[m].live) free.push_back(m);

  gone_.clear();
  for (MemberIndex m = 0; m < members_.size(); ++m) {
    if (!members_[m].live || view.find_worker(members_[m].node) != nullptr) continue;
    gone_.push_back(m);
    index_.erase(members_[m].node);
    members_[m].live = false;
  }
  by_rank_.clear();
  newest_start_ = WorkerClock(0);
  for (const auto& entry : view.roster) {
    auto m = find(entry.worker);
    if (m == kNone) {
      if (free.empty()) {
        m = static_cast<MemberIndex>(members_.size());
        members_.emplace_back();
      } else {
        m = free.back();
        free.pop_back();
      }
      index_.emplace(entry.worker, m);
    }
    members_[m] = {entry.worker, entry.rank, entry.start, true};
    by_rank_.push_back(m);
    newest_start_ = std::max(newest_start_, entry.start);
  }
  std::sort(by_rank_.begin(), by_rank_.end(),
            [&](MemberIndex a, MemberIndex b) { return members_[a].rank < members_[b].rank; });
  return gone_;
}

}  // namespace shoal
