#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "core/base/assert.h"

namespace shoal {

/// A bounded queue of small values for any number of producers and consumers, without locks and
/// without allocation after construction: how user threads hand work to a loop. Each cell carries
/// the turn in which it may next be written or read (Vyukov, "Bounded MPMC queue", 2010).
template <class T>
class BoundedQueue {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  /// `capacity` is rounded up to a power of two.
  explicit BoundedQueue(std::size_t capacity)
      : mask_(std::bit_ceil(capacity < 2 ? std::size_t{2} : capacity) - 1),
        cells_(std::make_unique<Cell[]>(mask_ + 1)) {
    for (std::size_t i = 0; i <= mask_; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
  }

  std::size_t capacity() const { return mask_ + 1; }

  /// False: full.
  bool push(const T& value) {
    auto at = tail_.load(std::memory_order_relaxed);
    for (;;) {
      auto& cell = cells_[at & mask_];
      const auto turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at) {
        if (tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          cell.value = value;
          cell.turn.store(at + 1, std::memory_order_release);
          return true;
        }
      } else if (turn < at) {
        return false;
      } else {
        at = tail_.load(std::memory_order_relaxed);
      }
    }
  }

  /// False: empty.
  bool pop(T& value) {
    auto at = head_.load(std::memory_order_relaxed);
    for (;;) {
      auto& cell = cells_[at & mask_];
      const auto turn = cell.turn.load(std::memory_order_acquire);
      if (turn == at + 1) {
        if (head_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
          value = cell.value;
          cell.turn.store(at + mask_ + 1, std::memory_order_release);
          return true;
        }
      } else if (turn < at + 1) {
        return false;
      } else {
        at = head_.load(std::memory_order_relaxed);
      }
    }
  }

  /// How many values were ever pushed: at least all that the caller knows of.
  std::uint64_t pushed() const { return tail_.load(std::memory_order_relaxed); }
  /// How many were popped.
  std::uint64_t popped() const { return head_.load(std::memory_order_relaxed); }

  /// A hint: another thread may change it at once.
  bool empty() const {
    const auto at = head_.load(std::memory_order_relaxed);
    return cells_[at & mask_].turn.load(std::memory_order_acquire) < at + 1;
  }

 private:
  struct alignas(64) Cell {
    std::atomic<std::uint64_t> turn;
    T value;
  };
  std::size_t mask_;
  std::unique_ptr<Cell[]> cells_;
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  alignas(64) std::atomic<std::uint64_t> head_{0};
};

}  // namespace shoal
