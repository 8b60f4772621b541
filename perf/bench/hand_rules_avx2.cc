// Compiled with -mavx2 -mf16c: see perf/CMakeLists.txt.
#include "perf/bench/hand_loops.h"

#if defined(__AVX2__) && defined(__F16C__)
#include <immintrin.h>

namespace shoal::perf {

namespace {

struct EightFloats {
  using Vec = __m256;
  static constexpr std::size_t kWidth = 8;

  static Vec load(const float* at) { return _mm256_loadu_ps(at); }
  static Vec load(const HandF16* at) { return _mm256_cvtph_ps(halves(at)); }
  static Vec load(const HandBF16* at) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves(at)), 16));
  }
  static void store(float* at, Vec x) { _mm256_storeu_ps(at, x); }
  static void store(HandF16* at, Vec x) {
    put_halves(at, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(HandBF16* at, Vec x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i upper =
        _mm256_blendv_epi8(_mm256_srli_epi32(rounded, 16), _mm256_set1_epi32(0x7fff), nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper, upper), 0x08);
    put_halves(at, _mm256_castsi256_si128(packed));
  }
  static __m128i halves(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
  static void put_halves(void* at, __m128i x) { _mm_storeu_si128(static_cast<__m128i*>(at), x); }
  static Vec set(float x) { return _mm256_set1_ps(x); }
  static Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static Vec sqrt(Vec x) { return _mm256_sqrt_ps(x); }
  static Vec sign() { return _mm256_set1_ps(-0.0f); }
  static Vec negative(Vec x) { return _mm256_xor_ps(x, sign()); }
  // minps and maxps give their second operand if either is NaN: b must win where it is.
  static Vec lesser(Vec a, Vec b) {
    return _mm256_blendv_ps(_mm256_min_ps(b, a), b, _mm256_cmp_ps(b, b, _CMP_UNORD_Q));
  }
  static Vec greater(Vec a, Vec b) {
    return _mm256_blendv_ps(_mm256_max_ps(b, a), b, _mm256_cmp_ps(b, b, _CMP_UNORD_Q));
  }
  static Vec soft(Vec x, Vec amount) {
    const Vec rest = sub(_mm256_andnot_ps(sign(), x), amount);
    const Vec none = _mm256_cmp_ps(rest, _mm256_setzero_ps(), _CMP_LE_OQ);
    return _mm256_andnot_ps(none, _mm256_or_ps(rest, _mm256_and_ps(sign(), x)));
  }
  static Vec if_positive(Vec x, Vec a, Vec b) {
    return _mm256_blendv_ps(a, b, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LE_OQ));
  }
  static void part(Vec a, Vec b, Vec& first, Vec& second) {
    const auto in_order = [](Vec x) {
      return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
    };
    first = in_order(_mm256_shuffle_ps(a, b, 0x88));
    second = in_order(_mm256_shuffle_ps(a, b, 0xdd));
  }
};

}  // namespace

const HandRule* hand_rules_avx2(HandType type) { return hand_rules_of<EightFloats>(type); }

}  // namespace shoal::perf

#else

namespace shoal::perf {
const HandRule* hand_rules_avx2(HandType) { return nullptr; }
}  // namespace shoal::perf

#endif
