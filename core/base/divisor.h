#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "core/base/assert.h"

namespace shoal {

/// Divides by a number that stays, by a multiplication: a third of the time that the processor's
/// division takes. After Granlund and Montgomery, Division by Invariant Integers using
/// Multiplication (PLDI 1994), for dividends below 2^63 and divisors below 2^62.
class Divisor {
 public:
  /// 0 is taken for 1.
  explicit Divisor(std::uint64_t by)
      : shift_(static_cast<int>(std::bit_width(std::max<std::uint64_t>(by, 1) - 1))),
        // 2^(63 + shift) / by, rounded up, which is too large by less than the dividends make up.
        factor_(static_cast<std::uint64_t>(((Wide{1} << (63 + shift_)) - 1) /
                                           std::max<std::uint64_t>(by, 1)) +
                1) {
    SHOAL_ASSERT(by < std::uint64_t{1} << 62, "a divisor that large");
  }

  friend std::uint64_t operator/(std::uint64_t dividend, const Divisor& by) {
    return static_cast<std::uint64_t>((Wide{dividend << 1} * by.factor_) >> 64) >> by.shift_;
  }

 private:
  __extension__ typedef unsigned __int128 Wide;  // 'using' is not what nvcc reads here
  int shift_;  ///< 2^shift is the least power of two that is not less
  std::uint64_t factor_;
};

}  // namespace shoal
