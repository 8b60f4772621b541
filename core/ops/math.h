#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "core/base/host_device.h"

// What update rules are written with, so that one functor compiles for the CPU's SIMD loops and for
// CUDA kernels. Only +, -, *, / and sqrt are used, which IEEE 754 rounds correctly: with
// contraction to fused multiply-add off (see docs/design/update_rules.md) every machine computes
// the same bits.

namespace shoal::math {

template <std::floating_point T>
SHOAL_HOST_DEVICE T sqrt(T x) {
  return std::sqrt(x);
}

template <std::floating_point T>
SHOAL_HOST_DEVICE T magnitude(T x) {
  return std::fabs(x);
}

/// Two's complement for integers, as the sum of a counter must wrap on every machine alike.
template <class T>
SHOAL_HOST_DEVICE T add(T a, T b) {
  if constexpr (std::integral<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

/// The smaller (larger) of the two; NaN if either is.
template <class T>
SHOAL_HOST_DEVICE T lesser(T a, T b) {
  if constexpr (std::integral<T>)
    return b < a ? b : a;
  else
    return ((b < a) | (b != b)) ? b : a;
}
template <class T>
SHOAL_HOST_DEVICE T greater(T a, T b) {
  if constexpr (std::integral<T>)
    return a < b ? b : a;
  else
    return ((a < b) | (b != b)) ? b : a;
}

/// Shrinks x towards 0 by `amount` >= 0 and stops there: the proximal operator of amount * |x|
/// (soft threshold). NaN stays NaN.
template <std::floating_point T>
SHOAL_HOST_DEVICE T soft_threshold(T x, T amount) {
  const T rest = magnitude(x) - amount;
  return rest <= T(0) ? T(0) : std::copysign(rest, x);
}

/// base^n by squaring: libm's pow differs between machines in its last bit.
SHOAL_HOST_DEVICE double power(double base, std::uint64_t n) {
  double result = 1;
  for (; n != 0; n >>= 1) {
    if (n & 1) result *= base;
    base *= base;
  }
  return result;
}

/// base + base^2 + ... + base^n, for 0 <= base <= 1.
SHOAL_HOST_DEVICE double power_sum(double base, std::uint64_t n) {
  if (base >= 1) return static_cast<double>(n);
  return base * (1 - power(base, n)) / (1 - base);
}

}  // namespace shoal::math
