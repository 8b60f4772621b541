#include "perf/bench/hand_rules.h"

#include <cmath>
#include <span>

#include "core/memory/float16.h"
#include "perf/bench/hand_loops.h"

namespace shoal::perf {

namespace {

/// One value at a time: whatever the compiler makes of it.
struct OneFloat {
  using Vec = float;
  static constexpr std::size_t kWidth = 1;

  static Vec load(const float* at) { return *at; }
  static Vec load(const HandF16* at) { return widened<Float16>(*at); }
  static Vec load(const HandBF16* at) { return widened<BFloat16>(*at); }
  static void store(float* at, Vec x) { *at = x; }
  static void store(HandF16* at, Vec x) { *at = HandF16{Float16(x).bits}; }
  static void store(HandBF16* at, Vec x) { *at = HandBF16{BFloat16(x).bits}; }
  template <class Narrow, class Stored>
  static Vec widened(Stored stored) {
    Narrow value;
    value.bits = static_cast<std::uint16_t>(stored);
    return static_cast<float>(value);
  }
  static Vec set(float x) { return x; }
  static Vec add(Vec a, Vec b) { return a + b; }
  static Vec sub(Vec a, Vec b) { return a - b; }
  static Vec mul(Vec a, Vec b) { return a * b; }
  static Vec div(Vec a, Vec b) { return a / b; }
  static Vec sqrt(Vec x) { return std::sqrt(x); }
  static Vec negative(Vec x) { return -x; }
  static Vec lesser(Vec a, Vec b) { return b < a || b != b ? b : a; }
  static Vec greater(Vec a, Vec b) { return a < b || b != b ? b : a; }
  static Vec soft(Vec x, Vec amount) {
    const float rest = std::fabs(x) - amount;
    return rest <= 0 ? 0 : std::copysign(rest, x);
  }
  static Vec if_positive(Vec x, Vec a, Vec b) { return x <= 0 ? b : a; }
  static void part(Vec a, Vec b, Vec& first, Vec& second) {
    first = a;
    second = b;
  }
};

const HandRule* rules_of(HandType type, HandForm form) {
  switch (form) {
    case HandForm::avx512:
      return hand_rules_avx512(type);
    case HandForm::avx2:
      return hand_rules_avx2(type);
    case HandForm::portable:
      break;
  }
  return hand_rules_of<OneFloat>(type);
}

}  // namespace

bool can_run(HandForm form) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (form == HandForm::avx512 &&
      (__builtin_cpu_supports("avx512f") == 0 || __builtin_cpu_supports("avx512dq") == 0))
    return false;
  // Every processor with AVX2 that there is has F16C.
  if (form == HandForm::avx2 && __builtin_cpu_supports("avx2") == 0) return false;
#endif
  return rules_of(HandType::f32, form) != nullptr;
}

HandForm best_hand_form() {
  for (const auto form : {HandForm::avx512, HandForm::avx2})
    if (can_run(form)) return form;
  return HandForm::portable;
}

const HandRule* hand_rule(std::string_view name, HandType type, HandForm form) {
  static_assert(std::size(HandLoops<OneFloat, float>::kRules) == kHandRuleCount);
  for (const auto& rule : std::span(rules_of(type, form), kHandRuleCount))
    if (rule.name == name) return &rule;
  return nullptr;
}

}  // namespace shoal::perf
