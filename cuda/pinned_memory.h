#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/base/result.h"
#include "core/memory/memory_view.h"

namespace shoal {

/// Host memory that GPUs and this process share without copies: page-locked, and near the GPU's
/// PCIe slot where the system has several memory nodes. Move-only; freeing waits for all work of
/// the GPU, so hold it for long.
class PinnedMemory {
 public:
  /// `bytes` > 0 bytes of zeros, for the GPU `ordinal` foremost. Errors: no_memory, unavailable,
  /// invalid_argument.
  static Result<PinnedMemory> create(std::uint16_t ordinal, std::size_t bytes);

  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~PinnedMemory();

  MemoryView view() const { return memory_; }

 private:
  explicit PinnedMemory(MemoryView memory) : memory_(memory) {}
  MemoryView memory_;
};

}  // namespace shoal
