#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/memory/memory_view.h"
#include "perf/messages.h"

namespace shoal::perf {

/// Equal buffers in one piece of memory, used in turn.
class Ring {
 public:
  Ring() = default;
  /// Zeroed, or each buffer with its pattern.
  Ring(std::size_t bytes, std::uint32_t inflight, bool pattern)
      : bytes_(bytes), count_(ring_size(bytes, inflight)), memory_(bytes * count_) {
    for (std::size_t i = 0; pattern && i < count_; ++i) fill_pattern(at(i).host_span(), i);
  }

  MemoryView memory() { return host_view(std::span(memory_)); }
  MemoryView at(std::uint64_t operation) { return memory().sub(offset(operation), bytes_); }
  std::size_t count() const { return count_; }
  std::size_t index(std::uint64_t operation) const { return operation % count_; }
  std::size_t offset(std::uint64_t operation) const { return index(operation) * bytes_; }
  /// How many of the first `operations` buffers do not hold their patterns.
  std::uint64_t wrong(std::uint64_t operations) const {
    std::uint64_t count = 0;
    for (std::uint64_t i = 0; i < count_ && i < operations; ++i)
      count += has_pattern(std::span(memory_).subspan(i * bytes_, bytes_), i) ? 0 : 1;
    return count;
  }

 private:
  std::size_t bytes_ = 0;
  std::size_t count_ = 0;
  std::vector<std::byte> memory_;
};

}  // namespace shoal::perf
