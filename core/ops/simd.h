#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// What the host loops of core/ops share. Loops are plain C++ that gcc and clang vectorise.

#define SHOAL_ALWAYS_INLINE __attribute__((always_inline)) inline

// 'No iteration depends on another': weights, states, sums and inputs never overlap.
#if defined(__clang__)
#define SHOAL_SIMD_LOOP _Pragma("clang loop vectorize(assume_safety)")
#else
#define SHOAL_SIMD_LOOP _Pragma("GCC ivdep")
#endif

// Without FMA: a fused multiply-add rounds once where two instructions round twice, and servers
// with and without it would hold different bits. (AVX-512 brings it along: -ffp-contract=off.) Out
// of cache the memory is the limit anyway.
#if defined(__x86_64__) && defined(__GNUC__)
#define SHOAL_HAS_X86_TARGETS 1
#define SHOAL_TARGET_AVX2 __attribute__((target("avx2")))
#define SHOAL_TARGET_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl")))
#else
#define SHOAL_HAS_X86_TARGETS 0
#define SHOAL_TARGET_AVX2
#define SHOAL_TARGET_AVX512
#endif

namespace shoal::host {

/// Values of an inner loop over a run of rows: four AVX-512 vectors of floats.
inline constexpr std::size_t kBlock = 64;
/// The same for one row (embeddings).
inline constexpr std::size_t kRowBlock = 32;
/// For tails.
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

/// The instruction sets that hot loops are compiled for; each runs on CPUs of those after it.
enum class Simd : std::uint8_t { baseline, avx2, avx512 };
inline constexpr Simd kSimds[] = {Simd::baseline, Simd::avx2, Simd::avx512};

/// The last one that compiler, CPU and system have.
inline Simd widest_simd() {
#if SHOAL_HAS_X86_TARGETS
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
      __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0)
    return Simd::avx512;
  if (__builtin_cpu_supports("avx2") != 0) return Simd::avx2;
#endif
  return Simd::baseline;
}

/// The one of a function's forms that is for `simd`.
template <class Function>
constexpr Function* form_for(Simd simd, Function* baseline, Function* avx2, Function* avx512) {
  return simd == Simd::avx512 ? avx512 : simd == Simd::avx2 ? avx2 : baseline;
}

}  // namespace shoal::host
