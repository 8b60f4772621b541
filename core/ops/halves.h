#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "core/memory/float16.h"
#include "core/ops/simd.h"

// Runs of Float16 to float and back. A processor has instructions for it (F16C, which all that have
// AVX2 have), and no compiler makes them of Float16's arithmetic, which takes five times as long.

namespace shoal::host {

/// So many are widened into a buffer, computed with, and rounded: it stays in the nearest cache.
inline constexpr std::size_t kHalfBlock = 512;

inline void widen_one_by_one(float* out, const std::byte* halves, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(load<Float16>(halves, i));
}
inline void round_one_by_one(std::byte* halves, const float* in, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const Float16 half(in[i]);
    std::memcpy(halves + i * sizeof half, &half, sizeof half);
  }
}

#if SHOAL_HAS_X86_TARGETS
__attribute__((target("avx2,f16c"))) inline void widen_avx2(float* out, const std::byte* halves,
                                                            std::size_t n) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(
        out + i,
        _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + 2 * i))));
  widen_one_by_one(out + i, halves + 2 * i, n - i);
}
__attribute__((target("avx2,f16c"))) inline void round_avx2(std::byte* halves, const float* in,
                                                            std::size_t n) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 x = _mm256_loadu_ps(in + i);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m128i nan16 =
        _mm_packs_epi32(_mm256_castsi256_si128(nan), _mm256_extracti128_si256(nan, 1));
    const __m128i rounded = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(halves + 2 * i),
                     _mm_blendv_epi8(rounded, _mm_set1_epi16(0x7fff), nan16));
  }
  round_one_by_one(halves + 2 * i, in + i, n - i);
}
/// Of what is not masked gcc's headers say "whatever was there", and warn of it (GCC bug 105593).
inline constexpr __mmask16 kAllLanes = 0xffff;

SHOAL_TARGET_AVX512 inline void widen_avx512(float* out, const std::byte* halves, std::size_t n) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(
        out + i,
        _mm512_maskz_cvtph_ps(
            kAllLanes, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves + 2 * i))));
  widen_one_by_one(out + i, halves + 2 * i, n - i);
}
SHOAL_TARGET_AVX512 inline void round_avx512(std::byte* halves, const float* in, std::size_t n) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 x = _mm512_loadu_ps(in + i);
    const __m256i rounded = _mm512_maskz_cvtps_ph(kAllLanes, x, _MM_FROUND_TO_NEAREST_INT);
    const auto nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(halves + 2 * i),
                        _mm256_mask_blend_epi16(nan, rounded, _mm256_set1_epi16(0x7fff)));
  }
  round_one_by_one(halves + 2 * i, in + i, n - i);
}
#endif

/// n floats of n values that may be unaligned.
template <Simd S>
inline void widen(float* out, const std::byte* halves, std::size_t n) {
#if SHOAL_HAS_X86_TARGETS
  if constexpr (S == Simd::avx512) return widen_avx512(out, halves, n);
  if constexpr (S == Simd::avx2) return widen_avx2(out, halves, n);
#endif
  widen_one_by_one(out, halves, n);
}
/// And back, rounded to nearest even.
template <Simd S>
inline void round(std::byte* halves, const float* in, std::size_t n) {
#if SHOAL_HAS_X86_TARGETS
  if constexpr (S == Simd::avx512) return round_avx512(halves, in, n);
  if constexpr (S == Simd::avx2) return round_avx2(halves, in, n);
#endif
  round_one_by_one(halves, in, n);
}

}  // namespace shoal::host
