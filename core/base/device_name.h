#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal {

/// Which device of this machine somebody means: "cpu", or "cuda:0", a GPU by its ordinal among
/// those that CUDA_VISIBLE_DEVICES leaves.
struct DeviceName {
  bool cuda = false;
  std::uint16_t ordinal = 0;  ///< 0 of the CPU

  /// Errors: invalid_argument (what was expected).
  static Result<DeviceName> parse(std::string_view text);
  std::string to_string() const;
  friend bool operator==(const DeviceName&, const DeviceName&) = default;
};

}  // namespace shoal
