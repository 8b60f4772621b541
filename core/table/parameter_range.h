#pragma once

#include <limits>
#include <string>

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
  friend bool operator==(const ParameterRange&, const ParameterRange&) = default;
};

namespace range {
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr ParameterRange kAny{-kInfinity, kInfinity};
inline constexpr ParameterRange kPositive{0, kInfinity, false};
inline constexpr ParameterRange kNonNegative{0, kInfinity};
inline constexpr ParameterRange kBelowOne{0, 1, true, false};  ///< [0, 1): a decay factor
inline constexpr ParameterRange kFlag{0, 1, true, true, true};
}  // namespace range

/// In words, to follow "it must be": "a finite number at least 0".
std::string describe(const ParameterRange& range);

}  // namespace shoal
