#include "core/table/parameter_range.h"

#include <fmt/core.h>

namespace shoal {

std::string describe(const ParameterRange& range) {
  if (range.flag) return "0 or 1";
  if (range.low == -range::kInfinity && range.high == range::kInfinity) return "any finite number";
  if (range.high == range::kInfinity)
    return fmt::format("a finite number {} {}", range.low_included ? "at least" : "above",
                       range.low);
  return fmt::format("{} {} and {} {}", range.low_included ? "at least" : "above", range.low,
                     range.high_included ? "at most" : "below", range.high);
}

}  // namespace shoal
