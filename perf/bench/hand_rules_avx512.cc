// Compiled with -mavx512f -mavx512dq: see perf/CMakeLists.txt.
#include "perf/bench/hand_loops.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>

namespace shoal::perf {

namespace {

struct SixteenFloats {
  using Vec = __m512;
  static constexpr std::size_t kWidth = 16;

  static Vec load(const float* at) { return _mm512_loadu_ps(at); }
  static Vec load(const HandF16* at) { return _mm512_cvtph_ps(halves(at)); }
  static Vec load(const HandBF16* at) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves(at)), 16));
  }
  static void store(float* at, Vec x) { _mm512_storeu_ps(at, x); }
  static void store(HandF16* at, Vec x) {
    put_halves(at, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store(HandBF16* at, Vec x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const auto nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i upper =
        _mm512_mask_blend_epi32(nan, _mm512_srli_epi32(rounded, 16), _mm512_set1_epi32(0x7fff));
    put_halves(at, _mm512_cvtepi32_epi16(upper));
  }
  static __m256i halves(const void* at) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(at));
  }
  static void put_halves(void* at, __m256i x) { _mm256_storeu_si256(static_cast<__m256i*>(at), x); }
  static Vec set(float x) { return _mm512_set1_ps(x); }
  static Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec sqrt(Vec x) { return _mm512_sqrt_ps(x); }
  static Vec sign() { return _mm512_set1_ps(-0.0f); }
  static Vec negative(Vec x) { return _mm512_xor_ps(x, sign()); }
  // minps and maxps give their second operand if either is NaN: b must win where it is.
  static Vec lesser(Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(b, b, _CMP_UNORD_Q), _mm512_min_ps(b, a), b);
  }
  static Vec greater(Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(b, b, _CMP_UNORD_Q), _mm512_max_ps(b, a), b);
  }
  static Vec soft(Vec x, Vec amount) {
    const Vec rest = sub(_mm512_andnot_ps(sign(), x), amount);
    const auto some = _mm512_cmp_ps_mask(rest, _mm512_setzero_ps(), _CMP_NLE_UQ);
    return _mm512_maskz_or_ps(some, rest, _mm512_and_ps(sign(), x));
  }
  static Vec if_positive(Vec x, Vec a, Vec b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LE_OQ), a, b);
  }
  static void part(Vec a, Vec b, Vec& first, Vec& second) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    first = _mm512_permutex2var_ps(a, even, b);
    second = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
  }
};

}  // namespace

const HandRule* hand_rules_avx512(HandType type) { return hand_rules_of<SixteenFloats>(type); }

}  // namespace shoal::perf

#else

namespace shoal::perf {
const HandRule* hand_rules_avx512(HandType) { return nullptr; }
}  // namespace shoal::perf

#endif
