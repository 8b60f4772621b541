#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "worker/engine/operation.h"

namespace shoal {

/// Why operations failed, beyond the life of their tickets and places: for those that follow them.
/// The last 1024 failures; who follows an older one, whose ticket is gone, is not told.
class EndedFailures {
 public:
  void note(OperationId id, std::string why) {
    if (kept_.size() < kKept) return kept_.emplace_back(id, std::move(why)), void();
    kept_[oldest_] = {id, std::move(why)};
    oldest_ = (oldest_ + 1) % kKept;
  }
  /// Null: it did not fail, or nobody remembers.
  const std::string* find(OperationId id) const {
    const auto at =
        std::find_if(kept_.begin(), kept_.end(), [&](const auto& one) { return one.first == id; });
    return at != kept_.end() ? &at->second : nullptr;
  }

 private:
  static constexpr std::size_t kKept = 1024;
  std::vector<std::pair<OperationId, std::string>> kept_;
  std::size_t oldest_ = 0;  ///< once there are kKept
};

}  // namespace shoal
