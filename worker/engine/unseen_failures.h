#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "core/base/error.h"

namespace shoal {

/// Pushes that failed, and whose tickets went without being asked: the next flush tells. Any
/// thread.
class UnseenFailures {
 public:
  struct Some {
    std::uint64_t count = 0;
    Error first;
  };

  /// One more. A push that was cancelled ended as it was asked to.
  void note(Error error) {
    if (error.code == Errc::cancelled) return;
    const std::lock_guard lock(mutex_);
    if (!some_) some_.emplace(Some{0, std::move(error)});
    ++some_->count;
  }
  /// Those since the last call.
  std::optional<Some> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(some_, std::nullopt);
  }

 private:
  std::mutex mutex_;
  std::optional<Some> some_;
};

}  // namespace shoal
