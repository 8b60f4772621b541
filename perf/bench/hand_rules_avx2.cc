// Compiled with -mavx2: see perf/CMakeLists.txt.
#include "perf/bench/hand_loops.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace shoal::perf {

namespace {

struct EightFloats {
  using Vec = __m256;
  static constexpr std::size_t kWidth = 8;

  static Vec load(const float* at) { return _mm256_loadu_ps(at); }
  static void store(float* at, Vec x) { _mm256_storeu_ps(at, x); }
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
  static void load_pairs(const float* at, Vec& first, Vec& second) {
    const Vec a = load(at), b = load(at + kWidth);
    const auto in_order = [](Vec x) {
      return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
    };
    first = in_order(_mm256_shuffle_ps(a, b, 0x88));
    second = in_order(_mm256_shuffle_ps(a, b, 0xdd));
  }
};

}  // namespace

const HandRule* hand_rules_avx2() { return HandLoops<EightFloats>::kRules; }

}  // namespace shoal::perf

#else

namespace shoal::perf {
const HandRule* hand_rules_avx2() { return nullptr; }
}  // namespace shoal::perf

#endif
