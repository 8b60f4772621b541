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
  static void store(float* at, Vec x) { _mm512_storeu_ps(at, x); }
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
  static void load_pairs(const float* at, Vec& first, Vec& second) {
    const Vec a = load(at), b = load(at + kWidth);
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    first = _mm512_permutex2var_ps(a, even, b);
    second = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
  }
};

}  // namespace

const HandRule* hand_rules_avx512() { return HandLoops<SixteenFloats>::kRules; }

}  // namespace shoal::perf

#else

namespace shoal::perf {
const HandRule* hand_rules_avx512() { return nullptr; }
}  // namespace shoal::perf

#endif
