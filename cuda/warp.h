#pragma once

#include <cstdint>

#include "core/base/host_device.h"
#include "core/ops/math.h"
#include "cuda/tiles.h"

// Bodies whose threads work together by warps: `static constexpr bool kByWarp = true`. What a lane
// does stands in `each`, what it keeps in a PerLane. On the host one thread is the whole warp, in
// the same order of additions.

namespace shoal::cuda {

/// A value of each lane of a warp.
template <class T>
class PerLane {
 public:
#if defined(__CUDA_ARCH__)
  SHOAL_HOST_DEVICE T& operator[](std::uint32_t) { return value_; }

 private:
  T value_;
#else
  SHOAL_HOST_DEVICE T& operator[](std::uint32_t lane) { return values_[lane]; }

 private:
  T values_[kWarpLanes];
#endif
};

/// Calls f(lane), in each lane's own thread. `thread` is the body's.
template <class F>
SHOAL_HOST_DEVICE void each([[maybe_unused]] std::uint32_t thread, const F& f) {
#if defined(__CUDA_ARCH__)
  f(thread % kWarpLanes);
#else
  for (std::uint32_t lane = 0; lane < kWarpLanes; ++lane) f(lane);
#endif
}

/// Combines the values of each group of `width` neighbouring lanes, a power of two, pairwise, in
/// halves that shrink: the same order everywhere. All lanes of a group then have its result.
template <class T, class F>
SHOAL_HOST_DEVICE void reduce_groups(PerLane<T>& values, std::uint32_t width, const F& combine) {
#if defined(__CUDA_ARCH__)
  SHOAL_UNROLL
  for (std::uint32_t distance = width / 2; distance != 0; distance /= 2)
    values[0] = combine(values[0], __shfl_xor_sync(0xffffffffu, values[0], distance));
#else
  T next[kWarpLanes];
  for (std::uint32_t distance = width / 2; distance != 0; distance /= 2) {
    for (std::uint32_t lane = 0; lane < kWarpLanes; ++lane)
      next[lane] = combine(values[lane], values[lane ^ distance]);
    for (std::uint32_t lane = 0; lane < kWarpLanes; ++lane) values[lane] = next[lane];
  }
#endif
}

/// Of all lanes.
template <class T, class F>
SHOAL_HOST_DEVICE T reduce(PerLane<T>& values, const F& combine) {
  reduce_groups(values, kWarpLanes, combine);
  return values[0];
}

template <class T>
SHOAL_HOST_DEVICE T sum(PerLane<T>& values) {
  return reduce(values, [](T a, T b) { return a + b; });
}
/// NaN if any is.
template <class T>
SHOAL_HOST_DEVICE T greatest(PerLane<T>& values) {
  return reduce(values, [](T a, T b) { return math::greater(a, b); });
}

/// Bit l: that of lane l.
SHOAL_HOST_DEVICE std::uint32_t ballot(PerLane<bool>& bits) {
#if defined(__CUDA_ARCH__)
  return __ballot_sync(0xffffffffu, bits[0]);
#else
  std::uint32_t word = 0;
  for (std::uint32_t lane = 0; lane < kWarpLanes; ++lane)
    word |= static_cast<std::uint32_t>(bits[lane]) << lane;
  return word;
#endif
}

}  // namespace shoal::cuda
