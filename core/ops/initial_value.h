#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>

#include "core/base/host_device.h"
#include "core/base/ids.h"
#include "core/base/random.h"
#include "core/memory/dtype.h"
#include "core/ops/math.h"
#include "core/table/table_spec.h"

// The first value of a row, for the host and for CUDA kernels: the same bits everywhere, in any
// order.

namespace shoal {

namespace math {

/// ln(x) of a normal x > 0 from IEEE operations only: 2^e m, and the series of artanh for m in
/// [1/sqrt(2), sqrt(2)). Within 2 units in the last place of 1 + |ln x|.
SHOAL_HOST_DEVICE double log(double x) {
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  constexpr double kSqrt2 = 0x1.6a09e667f3bcdp+0;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto exponent = static_cast<int>(bits >> 52) - 1023;
  auto m = std::bit_cast<double>((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
  if (m >= kSqrt2) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1) / (m + 1);  // |s| < 0.172
  const double s2 = s * s;
  double sum = 0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
  return exponent * kLn2 + 2 * s * sum;
}

/// Numerator and denominator of degree 7, constant term first.
struct Rational {
  double above[8];
  double below[8];

  SHOAL_HOST_DEVICE double operator()(double r) const {
    double n = above[7];
    double d = below[7];
    for (int i = 6; i >= 0; --i) {
      n = n * r + above[i];
      d = d * r + below[i];
    }
    return n / d;
  }
};

/// The normal distribution's quantile function at 0 < p < 1, to about 16 digits: Wichura,
/// "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37,
/// 1988 (PPND16).
SHOAL_HOST_DEVICE double normal_quantile(double p) {
  // Names and digits as in the paper: centre, shoulders, tails.
  constexpr Rational kCentre = {
      {3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3,
       1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
       3.3430575583588128105e+4, 2.5090809287301226727e+3},
      {1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
       2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4,
       5.2264952788528545610e+3}};
  constexpr Rational kShoulder = {
      {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
       3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
       2.27238449892691845833e-2, 7.74545014278341407640e-4},
      {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
       1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
       1.05075007164441684324e-9}};
  constexpr Rational kTail = {
      {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
       2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
       2.71155556874348757815e-5, 2.01033439929228813265e-7},
      {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
       7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
       2.04426310338993978564e-15}};
  const double q = p - 0.5;
  if (magnitude(q) <= 0.425) return q * kCentre(0.180625 - q * q);
  const double r = sqrt(-log(q < 0 ? p : 1 - p));
  const double value = r <= 5 ? kShoulder(r - 1.6) : kTail(r - 5);
  return q < 0 ? -value : value;
}

/// The T nearest to `value` that a double holds, too.
template <std::integral T>
SHOAL_HOST_DEVICE T to_integer(double value) {
  constexpr auto kLow = static_cast<double>(std::numeric_limits<T>::lowest());
  constexpr double kHigh = -kLow;
  if (value < kLow) return std::numeric_limits<T>::lowest();
  if (value >= kHigh) return std::numeric_limits<T>::max();
  return static_cast<T>(value);
}

template <class T>
SHOAL_HOST_DEVICE T from_double(double value) {
  if constexpr (std::integral<T>)
    return to_integer<T>(value);
  else
    return static_cast<T>(static_cast<Accumulator<T>>(value));
}

}  // namespace math

/// The value of a column of a row.
template <class T>
SHOAL_HOST_DEVICE T initial_value(const Initializer& init, Key key, std::uint64_t column) {
  using Kind = Initializer::Kind;
  if (init.kind == Kind::zero) return T{};
  if (init.kind == Kind::constant) return math::from_double<T>(init.a);
  const auto bits = mix64(mix64(mix64(init.seed) ^ key) + column);
  const double unit = (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;  // in (0, 1)
  if (init.kind == Kind::normal) {
    const double value = init.a + init.b * math::normal_quantile(unit);
    return math::from_double<T>(std::integral<T> ? std::nearbyint(value) : value);
  }
  return math::from_double<T>(std::integral<T> ? init.a + std::floor(unit * (init.b - init.a + 1))
                                               : init.a + unit * (init.b - init.a));
}

}  // namespace shoal
