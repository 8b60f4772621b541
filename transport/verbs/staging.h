#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include "transport/verbs/rail.h"

namespace shoal::verbs {

/// Registered memory for bytes on their way, handed out and given back in the same order. Grows by
/// doubling from `bytes_min` to `bytes_max`, to its high-water mark, and then allocates no more.
class Staging {
 public:
  /// `rail` outlives it.
  Staging(const Rail& rail, std::size_t bytes_min, std::size_t bytes_max)
      : rail_(rail), bytes_min_(bytes_min), bytes_max_(bytes_max) {}

  struct Run {
    std::byte* data = nullptr;
    std::uint32_t lkey = 0;
  };
  /// `bytes` in one piece. None: full, until something is given back, or growth() failed.
  std::optional<Run> take(std::size_t bytes);
  /// Errors: registration, no_memory: why it could not grow when it last had to.
  const Status& growth() const { return growth_; }
  /// Gives back the oldest run; `bytes` as it was taken.
  void give(std::size_t bytes);

  std::size_t capacity() const { return blocks_.empty() ? 0 : blocks_.back().slab.bytes(); }

 private:
  /// Positions grow for ever; a run is at its first position modulo the size.
  struct Block {
    Slab slab;
    std::uint64_t head = 0;
    std::uint64_t tail = 0;
  };
  static std::size_t gap(const Block& block, std::uint64_t at, std::size_t bytes) {
    const auto left = block.slab.bytes() - at % block.slab.bytes();
    return bytes > left ? left : 0;
  }
  std::optional<Run> take_of(Block& block, std::size_t bytes);

  const Rail& rail_;
  std::size_t bytes_min_;
  std::size_t bytes_max_;
  Status growth_;
  std::deque<Block> blocks_;  ///< what is given back lies in the first, what is taken in the last
};

}  // namespace shoal::verbs
