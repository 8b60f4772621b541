#pragma once

#include <cstddef>
#include <cstring>

// What the host loops of core/ops share. Loops are plain C++ that gcc and clang vectorise.

#define SHOAL_ALWAYS_INLINE __attribute__((always_inline)) inline

// 'No iteration depends on another': weights, states, sums and inputs never overlap.
#if defined(__clang__)
#define SHOAL_SIMD_LOOP _Pragma("clang loop vectorize(assume_safety)")
#else
#define SHOAL_SIMD_LOOP _Pragma("GCC ivdep")
#endif

// AVX2 without FMA: a fused multiply-add rounds once where two instructions round twice, and
// servers with and without it would hold different bits. Out of cache the memory is the limit
// anyway.
#if defined(__x86_64__) && defined(__GNUC__)
#define SHOAL_HAS_AVX2_TARGET 1
#define SHOAL_TARGET_AVX2 __attribute__((target("avx2")))
#else
#define SHOAL_HAS_AVX2_TARGET 0
#define SHOAL_TARGET_AVX2
#endif

namespace shoal::host {

/// Values of an inner loop: four AVX2 vectors of floats.
inline constexpr std::size_t kBlock = 32;
/// For rows narrower than a block (embeddings) and tails.
inline constexpr std::size_t kSmallBlock = 8;
inline constexpr std::size_t kCacheLine = 64;
/// Rows ahead whose lines are fetched: enough to cover a miss to memory.
inline constexpr std::size_t kPrefetchRows = 16;
/// Of a wide row only the beginning is fetched ahead; the hardware streams the rest.
inline constexpr std::size_t kPrefetchBytesMax = 256;

/// Value `i` of an array that may be unaligned (a payload inside a frame).
template <class T>
SHOAL_ALWAYS_INLINE T load(const std::byte* values, std::size_t i) {
  T value;
  std::memcpy(&value, values + i * sizeof(T), sizeof(T));
  return value;
}

SHOAL_ALWAYS_INLINE void prefetch_for_write(const void* address) {
  __builtin_prefetch(address, 1, 3);
}

/// Whether this CPU (and its system) runs the AVX2 forms.
inline bool cpu_has_avx2() {
#if SHOAL_HAS_AVX2_TARGET
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") != 0;
#else
  return false;
#endif
}

}  // namespace shoal::host
