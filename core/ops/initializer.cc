#include "core/ops/initializer.h"

#include <fmt/core.h>

#include <bit>
#include <concepts>
#include <cstring>

namespace shoal {

namespace math {

double log(double x) {
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

namespace {

/// Numerator and denominator of degree 7, constant term first.
struct Rational {
  double above[8];
  double below[8];

  double operator()(double r) const {
    double n = above[7];
    double d = below[7];
    for (int i = 6; i >= 0; --i) {
      n = n * r + above[i];
      d = d * r + below[i];
    }
    return n / d;
  }
};

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

}  // namespace

double normal_quantile(double p) {
  const double q = p - 0.5;
  if (magnitude(q) <= 0.425) return q * kCentre(0.180625 - q * q);
  const double r = sqrt(-log(q < 0 ? p : 1 - p));
  const double value = r <= 5 ? kShoulder(r - 1.6) : kTail(r - 5);
  return q < 0 ? -value : value;
}

}  // namespace math

namespace {

using Kind = Initializer::Kind;

template <std::integral T>
T to_integer(double value) {
  // The nearest values that a double holds and T too.
  constexpr auto kLow = static_cast<double>(std::numeric_limits<T>::lowest());
  constexpr double kHigh = -kLow;
  if (value < kLow) return std::numeric_limits<T>::lowest();
  if (value >= kHigh) return std::numeric_limits<T>::max();
  return static_cast<T>(value);
}

template <class T>
T initial_value(const Initializer& init, Key key, std::uint64_t column) {
  const auto bits = mix64(mix64(mix64(init.seed) ^ key) + column);
  const double unit = (static_cast<double>(bits >> 12) + 0.5) * 0x1p-52;  // in (0, 1)
  if constexpr (std::integral<T>) {
    if (init.kind == Kind::uniform)
      return to_integer<T>(init.a + std::floor(unit * (init.b - init.a + 1)));
    return to_integer<T>(std::nearbyint(init.a + init.b * math::normal_quantile(unit)));
  } else {
    const double value = init.kind == Kind::uniform ? init.a + unit * (init.b - init.a)
                                                    : init.a + init.b * math::normal_quantile(unit);
    return static_cast<T>(static_cast<Accumulator<T>>(value));
  }
}

template <class T>
void write_rows(const Initializer& init, std::uint64_t first, std::size_t count, std::size_t width,
                std::byte* rows) {
  T* values = reinterpret_cast<T*>(rows);
  if (init.kind == Kind::zero) {
    std::memset(rows, 0, count * width * sizeof(T));
    return;
  }
  if (init.kind == Kind::constant) {
    T value;
    if constexpr (std::integral<T>)
      value = to_integer<T>(init.a);
    else
      value = static_cast<T>(static_cast<Accumulator<T>>(init.a));
    for (std::size_t i = 0; i < count * width; ++i) values[i] = value;
    return;
  }
  for (std::size_t r = 0; r < count; ++r)
    for (std::size_t c = 0; c < width; ++c)
      values[r * width + c] = initial_value<T>(init, first + r, c);
}

bool is_finite(double value, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return std::isfinite(static_cast<float>(value));
    case DType::f16:
      return std::isfinite(static_cast<float>(Float16(static_cast<float>(value))));
    case DType::bf16:
      return std::isfinite(static_cast<float>(BFloat16(static_cast<float>(value))));
    default:
      return std::isfinite(value);
  }
}

Error wrong(std::string what) {
  return {Errc::invalid_argument, "initializer: " + std::move(what)};
}

}  // namespace

Status validate(const Initializer& init, DType dtype) {
  if (init.kind == Kind::zero) return {};
  if (!is_finite(init.a, dtype))
    return wrong(fmt::format("{} is not a finite {} number", init.a, name_of(dtype)));
  const bool integer = dtype == DType::i32 || dtype == DType::i64;
  if (init.kind == Kind::constant && integer) {
    const double limit = dtype == DType::i32 ? 0x1p31 : 0x1p63;
    if (std::trunc(init.a) != init.a || init.a < -limit || init.a >= limit)
      return wrong(fmt::format("{} is not an {} value", init.a, name_of(dtype)));
  }
  if (init.kind == Kind::constant) return {};
  if (!is_finite(init.b, dtype))
    return wrong(fmt::format("{} is not a finite {} number", init.b, name_of(dtype)));
  if (init.kind == Kind::uniform && !(init.a <= init.b && std::isfinite(init.b - init.a)))
    return wrong(fmt::format("uniform from {} to {}: the low end must not lie above the high one",
                             init.a, init.b));
  if (init.kind == Kind::normal && init.b < 0)
    return wrong(fmt::format("a standard deviation of {} is negative", init.b));
  return {};
}

void write_initial_rows(const Initializer& init, DType dtype, Row first, std::size_t count,
                        std::uint32_t width, std::byte* rows) {
  switch (dtype) {
    case DType::f32:
      return write_rows<float>(init, first, count, width, rows);
    case DType::f64:
      return write_rows<double>(init, first, count, width, rows);
    case DType::i32:
      return write_rows<std::int32_t>(init, first, count, width, rows);
    case DType::i64:
      return write_rows<std::int64_t>(init, first, count, width, rows);
    case DType::f16:
      return write_rows<Float16>(init, first, count, width, rows);
    case DType::bf16:
      return write_rows<BFloat16>(init, first, count, width, rows);
  }
}

void write_initial_row(const Initializer& init, DType dtype, Key key, std::uint32_t width,
                       std::byte* row) {
  write_initial_rows(init, dtype, key, 1, width, row);
}

}  // namespace shoal
