#pragma once

#include <limits>
#include <string_view>
#include <type_traits>

namespace shoal {

/// What a rule's parameter may be. Always finite.
struct ParameterRange {
  double low;
  double high;
  bool low_included = true;
  bool high_included = true;
  bool flag = false;  ///< 0 or 1

  constexpr bool contains(double value) const {
    constexpr auto kMax = std::numeric_limits<double>::max();
    if (!(value >= -kMax && value <= kMax)) return false;
    if (flag) return value == 0 || value == 1;
    return (low_included ? value >= low : value > low) &&
           (high_included ? value <= high : value < high);
  }
};

namespace range {
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr ParameterRange kAny{-kInfinity, kInfinity};
inline constexpr ParameterRange kPositive{0, kInfinity, false};
inline constexpr ParameterRange kNonNegative{0, kInfinity};
inline constexpr ParameterRange kBelowOne{0, 1, true, false};  ///< [0, 1): a decay factor
inline constexpr ParameterRange kFlag{0, 1, true, true, true};
}  // namespace range

/// A field of a rule's functor that can be set by name, on creation and while training.
struct ParameterInfo {
  std::string_view name;
  ParameterRange range;
  std::string_view meaning;
  double (*get)(const void* functor);
  void (*set)(void* functor, double value);
};

namespace detail {
template <class F, class M>
F functor_of(M F::*);
}

/// Describes the arithmetic field `Field`: parameter<&Sgd::learning_rate>("learning_rate", ...).
template <auto Field>
constexpr ParameterInfo parameter(std::string_view name, ParameterRange range,
                                  std::string_view meaning) {
  using F = decltype(detail::functor_of(Field));
  return {name, range, meaning,
          [](const void* functor) {
            return static_cast<double>(static_cast<const F*>(functor)->*Field);
          },
          [](void* functor, double value) {
            auto& field = static_cast<F*>(functor)->*Field;
            field = static_cast<std::remove_reference_t<decltype(field)>>(value);
          }};
}

}  // namespace shoal
