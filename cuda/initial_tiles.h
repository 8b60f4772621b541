#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ops/initial_value.h"
#include "cuda/tiles.h"

namespace shoal::cuda {

/// Initial values of consecutive rows, one behind the other.
template <class T>
class InitialTiles : public OneEach {
 public:
  InitialTiles(const Initializer& initializer, Row first, std::uint64_t count, std::uint32_t width,
               T* rows)
      : OneEach(count * width),
        initializer_(initializer),
        first_(first),
        width_(width),
        rows_(rows) {}
  SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const {
    const auto i = element(tile, thread);
    if (has(i)) rows_[i] = initial_value<T>(initializer_, first_ + i / width_, i % width_);
  }

 private:
  Initializer initializer_;
  Row first_;
  std::uint64_t width_;
  T* rows_;
};

}  // namespace shoal::cuda
