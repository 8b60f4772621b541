#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/host_device.h"

// How a kernel's work is cut. A kernel is a *body*: a value that says how many tiles there are, and
// what thread t of a block does for tile k, independently of all other threads. So the same body
// runs in a grid of blocks (launch.cuh), and one thread after another on the host, where tests
// compare it with the host's own kernels.
//
//   struct Body {
//     SHOAL_HOST_DEVICE std::uint32_t tiles() const;
//     SHOAL_HOST_DEVICE void operator()(std::uint32_t tile, std::uint32_t thread) const;
//   };

// Loops over the arrays of a thread: unrolled, so that they lie in registers.
#if defined(__CUDACC__)
#define SHOAL_UNROLL _Pragma("unroll")
#else
#define SHOAL_UNROLL
#endif

namespace shoal::cuda {

/// Threads of a block.
inline constexpr std::uint32_t kBlockThreads = 256;
/// The widest access of a thread: neighbours in a warp then fill whole lines.
inline constexpr std::size_t kPackBytes = 16;
/// Packs of each array that a thread has under way, so that it waits for memory once for all.
inline constexpr std::uint32_t kUnroll = 2;
/// What a launch carries by value: CUDA takes 32,764 bytes; each costs time at every launch.
inline constexpr std::size_t kBodyBytesMax = 16u << 10;

/// Values of a T that one thread takes at a time.
template <class T>
inline constexpr std::uint32_t kRun = kPackBytes / sizeof(T);

/// Whether packs can be read at `address`.
SHOAL_HOST_DEVICE bool on_pack(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % kPackBytes == 0;
}

/// 16 bytes of T, which the compiler moves in one access.
template <class T>
struct alignas(kPackBytes) Pack {
  T values[kRun<T>];
};

/// An element that leaves weights as they are, bit for bit.
template <class Element>
concept KeepsWeights = requires {
  Element::kKeepsWeights;
};

/// N values from `from`: in packs if it is on one (`packed`), else one by one; one value always so.
template <std::uint32_t N, class T>
SHOAL_HOST_DEVICE void load_run(T (&to)[N], const T* from, [[maybe_unused]] bool packed) {
  static_assert(N == 1 || N % kRun<T> == 0);
  if constexpr (N != 1) {
    if (packed) {
      SHOAL_UNROLL
      for (std::uint32_t p = 0; p < N / kRun<T>; ++p) {
        const auto pack = reinterpret_cast<const Pack<T>*>(from)[p];
        SHOAL_UNROLL
        for (std::uint32_t i = 0; i < kRun<T>; ++i) to[p * kRun<T> + i] = pack.values[i];
      }
      return;
    }
  }
  SHOAL_UNROLL
  for (std::uint32_t i = 0; i < N; ++i) to[i] = from[i];
}

/// The same the other way.
template <std::uint32_t N, class T>
SHOAL_HOST_DEVICE void store_run(T* to, const T (&from)[N], [[maybe_unused]] bool packed) {
  static_assert(N == 1 || N % kRun<T> == 0);
  if constexpr (N != 1) {
    if (packed) {
      SHOAL_UNROLL
      for (std::uint32_t p = 0; p < N / kRun<T>; ++p) {
        Pack<T> pack;
        SHOAL_UNROLL
        for (std::uint32_t i = 0; i < kRun<T>; ++i) pack.values[i] = from[p * kRun<T> + i];
        reinterpret_cast<Pack<T>*>(to)[p] = pack;
      }
      return;
    }
  }
  SHOAL_UNROLL
  for (std::uint32_t i = 0; i < N; ++i) to[i] = from[i];
}

/// Four values, which the compiler moves in one access.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T values[4];
};
template <class T>
SHOAL_HOST_DEVICE bool on_four(const T* address) {
  return reinterpret_cast<std::uintptr_t>(address) % sizeof(Four<T>) == 0;
}

/// A body of which each thread takes one of so many elements.
class OneEach {
 public:
  explicit OneEach(std::uint64_t elements) : elements_(elements) {}
  SHOAL_HOST_DEVICE std::uint32_t tiles() const {
    return static_cast<std::uint32_t>((elements_ + kBlockThreads - 1) / kBlockThreads);
  }

 protected:
  SHOAL_HOST_DEVICE static std::uint64_t element(std::uint32_t tile, std::uint32_t thread) {
    return std::uint64_t{tile} * kBlockThreads + thread;
  }
  SHOAL_HOST_DEVICE bool has(std::uint64_t i) const { return i < elements_; }

 private:
  std::uint64_t elements_;
};

inline constexpr std::uint32_t kWarpLanes = 32;
/// A body whose threads work together by warps (warp.h).
template <class Body>
concept ByWarp = requires {
  Body::kByWarp;
};

/// Runs a body without a GPU, in the order of its tiles and threads.
template <class Body>
void run_on_host(const Body& body) {
  for (std::uint32_t tile = 0; tile < body.tiles(); ++tile)
    for (std::uint32_t thread = 0; thread < kBlockThreads; thread += ByWarp<Body> ? kWarpLanes : 1)
      body(tile, thread);
}

}  // namespace shoal::cuda
