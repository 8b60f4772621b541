#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/assert.h"

namespace shoal::sim {

using BufferId = std::uint32_t;
inline constexpr BufferId kNoBuffer = ~BufferId{0};

/// Bytes under way: buffers of powers of two that are used again and again.
class WireBuffers {
 public:
  BufferId take(std::size_t bytes) {
    const auto order = std::bit_width((bytes < 256 ? std::size_t{256} : bytes) - 1);
    auto& free = free_[static_cast<std::size_t>(order)];
    if (free.empty()) {
      buffers_.push_back({std::make_unique_for_overwrite<std::byte[]>(std::size_t{1} << order),
                          bytes, static_cast<std::uint8_t>(order)});
      return static_cast<BufferId>(buffers_.size() - 1);
    }
    const auto id = free.back();
    free.pop_back();
    buffers_[id].bytes = bytes;
    return id;
  }
  /// Overwrites the bytes: a frame that is read after its poll looks like nonsense, not like luck.
  void release(BufferId id) {
    if (id == kNoBuffer) return;
    auto& buffer = buffers_[id];
    std::memset(buffer.data.get(), 0xdd, buffer.bytes);
    free_[buffer.order].push_back(id);
  }
  std::byte* data(BufferId id) { return buffers_[id].data.get(); }
  std::size_t bytes(BufferId id) const { return buffers_[id].bytes; }
  std::size_t in_use() const {
    auto used = buffers_.size();
    for (const auto& free : free_) used -= free.size();
    return used;
  }

 private:
  struct Buffer {
    std::unique_ptr<std::byte[]> data;
    std::size_t bytes = 0;
    std::uint8_t order = 0;
  };
  std::vector<Buffer> buffers_;
  std::array<std::vector<BufferId>, 64> free_;
};

}  // namespace shoal::sim
