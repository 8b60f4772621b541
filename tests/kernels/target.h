#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "core/memory/device.h"

namespace shoal::test {

/// Where kernels run.
class Target {
 public:
  virtual ~Target() = default;
  /// Returns when all that was launched is done.
  virtual void finish() = 0;

  /// Memory that both this process and the kernels read and write, on a cache line; lives as long
  /// as the target.
  std::byte* allocate(std::size_t bytes) {
    bytes = (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
    if (bytes > rest_.size()) rest_ = chunk(std::max(bytes, kChunkBytes));
    auto* memory = rest_.data();
    rest_ = rest_.subspan(bytes);
    return memory;
  }

 protected:
  virtual std::span<std::byte> chunk(std::size_t bytes) = 0;

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{4} << 20;
  std::span<std::byte> rest_;
};

}  // namespace shoal::test
