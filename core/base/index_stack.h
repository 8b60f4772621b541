#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace shoal {

/// The free places of a table, for any number of threads, without locks and without allocation
/// after construction. The one that was given back last is taken first: what stands there is still
/// in the cache. (Treiber, "Systems Programming: Coping with Parallelism", 1986; the head counts
/// its changes, so that a thread that was away for a while sees that it has changed and come back.)
class IndexStack {
 public:
  /// All of 0 to `count` - 1, from 0 on.
  explicit IndexStack(std::uint32_t count)
      : below_(std::make_unique<std::atomic<std::uint32_t>[]>(count)), head_(kNone) {
    for (auto i = count; i-- > 0;) push(i);
  }

  /// False: none is free.
  bool pop(std::uint32_t& index) {
    auto head = head_.load(std::memory_order_acquire);
    for (;;) {
      index = static_cast<std::uint32_t>(head);
      if (index == kNone) return false;
      const auto below = below_[index].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, changed(head, below), std::memory_order_acquire))
        return true;
    }
  }
  /// One that pop() gave.
  void push(std::uint32_t index) {
    auto head = head_.load(std::memory_order_relaxed);
    do below_[index].store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
    while (!head_.compare_exchange_weak(head, changed(head, index), std::memory_order_release,
                                        std::memory_order_relaxed));
  }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  /// The number of changes in the high half.
  static std::uint64_t changed(std::uint64_t head, std::uint32_t index) {
    return (((head >> 32) + 1) << 32) | index;
  }

  std::unique_ptr<std::atomic<std::uint32_t>[]> below_;
  std::atomic<std::uint64_t> head_;
};

}  // namespace shoal
