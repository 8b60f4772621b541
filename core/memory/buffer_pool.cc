#include "core/memory/buffer_pool.h"

#include <fmt/core.h>

#include <vector>

#include "core/memory/device_memory.h"

namespace shoal {

namespace detail {

/// On the heap, so that lent blocks find it wherever the pool moves.
struct PoolState {
  DeviceMemory memory;
  std::size_t block_bytes = 0;
  std::size_t stride = 0;
  std::uint32_t capacity = 0;
  std::uint64_t exhausted_count = 0;
  std::vector<std::uint32_t> free;  ///< A stack; its capacity is `capacity` from the start.

  ~PoolState() {
    SHOAL_ASSERT(free.size() == capacity, "a pool was destroyed while blocks of it are lent");
  }
};

}  // namespace detail

MemoryView Block::view() const {
  SHOAL_ASSERT(valid(), "view() of an empty block");
  return pool_->memory.view().sub(index_ * pool_->stride, pool_->block_bytes);
}

void Block::give_back() noexcept {
  if (auto* pool = std::exchange(pool_, nullptr)) pool->free.push_back(index_);
}

Result<BufferPool> BufferPool::create(Device& device, std::size_t block_bytes,
                                      std::uint32_t block_count, Device::AllocateOptions options) {
  if (block_bytes == 0 || block_count == 0)
    return Error{Errc::invalid_argument,
                 fmt::format("a pool of {} blocks of {} bytes: both must be "
                             "at least 1",
                             block_count, block_bytes)};
  const auto stride = (block_bytes + kMemoryAlignment - 1) & ~(kMemoryAlignment - 1);
  if (stride < block_bytes || stride > SIZE_MAX / block_count)
    return Error{Errc::no_memory,
                 fmt::format("a pool of {} blocks of {} bytes", block_count, block_bytes)};
  SHOAL_ASSIGN(auto memory, DeviceMemory::create(device, stride * block_count, options));
  auto state = std::make_unique<detail::PoolState>();
  state->memory = std::move(memory);
  state->block_bytes = block_bytes;
  state->stride = stride;
  state->capacity = block_count;
  state->free.resize(block_count);
  for (std::uint32_t i = 0; i < block_count; ++i) state->free[i] = block_count - 1 - i;
  return BufferPool(std::move(state));
}

BufferPool::BufferPool(std::unique_ptr<detail::PoolState> state) : state_(std::move(state)) {}
BufferPool::BufferPool(BufferPool&&) noexcept = default;
BufferPool& BufferPool::operator=(BufferPool&&) noexcept = default;
BufferPool::~BufferPool() = default;

Block BufferPool::take() {
  if (state_->free.empty()) {
    ++state_->exhausted_count;
    return {};
  }
  const auto index = state_->free.back();
  state_->free.pop_back();
  return {state_.get(), index};
}

std::size_t BufferPool::block_bytes() const { return state_->block_bytes; }
std::uint32_t BufferPool::capacity() const { return state_->capacity; }
std::uint32_t BufferPool::available() const {
  return static_cast<std::uint32_t>(state_->free.size());
}
std::uint64_t BufferPool::exhausted_count() const { return state_->exhausted_count; }
MemoryView BufferPool::memory() const { return state_->memory.view(); }
std::size_t BufferPool::block_stride() const { return state_->stride; }

}  // namespace shoal
