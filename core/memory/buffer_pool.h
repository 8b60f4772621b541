#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/base/result.h"
#include "core/memory/device.h"
#include "core/memory/memory_view.h"

namespace shoal {

namespace detail {
struct PoolState;
}

/// A block lent by a BufferPool, given back when it is destroyed. Move-only. Empty if the pool had
/// none left: test `valid()` first.
class Block {
 public:
  Block() = default;
  Block(Block&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), index_(other.index_) {}
  Block& operator=(Block&& other) noexcept {
    if (this != &other) {
      give_back();
      pool_ = std::exchange(other.pool_, nullptr);
      index_ = other.index_;
    }
    return *this;
  }
  ~Block() { give_back(); }

  bool valid() const { return pool_ != nullptr; }
  explicit operator bool() const { return valid(); }
  /// All of the block: the pool's block_bytes().
  MemoryView view() const;
  std::byte* data() const { return view().data; }
  /// Which of the pool's blocks, 0 .. capacity-1; for tables beside the pool.
  std::uint32_t index() const { return index_; }
  /// Back to the pool now.
  void give_back() noexcept;

 private:
  friend class BufferPool;
  Block(detail::PoolState* pool, std::uint32_t index) : pool_(pool), index_(index) {}

  detail::PoolState* pool_ = nullptr;
  std::uint32_t index_ = 0;
};

/// A fixed number of equal blocks, aligned to kMemoryAlignment, in one allocation made at the start
/// (so that one registration with a transport covers them all). Never grows: when all are lent,
/// `take` returns an empty block, which its owner reports as Errc::overloaded, and counts it.
/// Belongs to one loop, blocks included. Every block must be back before the pool is destroyed.
class BufferPool {
 public:
  /// Errors: no_memory, invalid_argument (no blocks, or blocks of 0 bytes).
  static Result<BufferPool> create(Device& device, std::size_t block_bytes,
                                   std::uint32_t block_count, Device::AllocateOptions options = {});

  BufferPool(BufferPool&&) noexcept;
  BufferPool& operator=(BufferPool&&) noexcept;
  ~BufferPool();

  /// The block that came back last, as it may still be in the cache; empty if there is none. Does
  /// not allocate.
  Block take();

  std::size_t block_bytes() const;
  std::uint32_t capacity() const;
  std::uint32_t available() const;
  /// How often `take` found the pool empty.
  std::uint64_t exhausted_count() const;
  /// All blocks' memory, as for registration. Block i begins at i * block_stride().
  MemoryView memory() const;
  std::size_t block_stride() const;

 private:
  explicit BufferPool(std::unique_ptr<detail::PoolState> state);
  std::unique_ptr<detail::PoolState> state_;
};

}  // namespace shoal
