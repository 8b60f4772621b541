#include "core/memory/float16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/base/random.h"

namespace shoal {
namespace {

/// A format of 16 bits as its definition has it, in doubles.
struct Format {
  int exponent_bits;
  int fraction_bits;

  std::uint16_t infinity() const {
    return static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << fraction_bits);
  }
  /// Of bits without a sign; what would follow the largest number if the range went on, for
  /// infinity: that is how far rounding goes up to it.
  double magnitude(std::uint16_t bits) const {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = bits >> fraction_bits;
    const int fraction = bits & ((1 << fraction_bits) - 1);
    if (exponent == 0) return std::ldexp(fraction, 1 - bias - fraction_bits);
    return std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
  }
  double value(std::uint16_t bits) const {
    const auto rest = static_cast<std::uint16_t>(bits & 0x7fff);
    const double sign = bits == rest ? 1 : -1;
    if (rest > infinity()) return std::nan("");
    return sign * (rest == infinity() ? HUGE_VAL : magnitude(rest));
  }
  /// The nearest, of two that are equally near the even one.
  std::uint16_t nearest(double x) const {
    if (std::isnan(x)) return 0x7fff;
    const auto sign = std::signbit(x) ? 0x8000 : 0;
    const double size = std::fabs(x);
    std::uint16_t below = 0, above = infinity();
    while (above - below > 1) {
      const auto middle = static_cast<std::uint16_t>((below + above) / 2);
      (magnitude(middle) <= size ? below : above) = middle;
    }
    const double down = size - magnitude(below);
    const double up = magnitude(above) - size;
    const bool upper = up < down || (up == down && above % 2 == 0);
    return static_cast<std::uint16_t>((upper ? above : below) | sign);
  }
};

template <class T>
struct FormatOf;
template <>
struct FormatOf<Float16> {
  static constexpr Format kFormat{5, 10};
};
template <>
struct FormatOf<BFloat16> {
  static constexpr Format kFormat{8, 7};
};

template <class T>
class Floats16 : public testing::Test {
 protected:
  static constexpr Format kFormat = FormatOf<T>::kFormat;
  static T of_bits(std::uint32_t bits) {
    T value;
    value.bits = static_cast<std::uint16_t>(bits);
    return value;
  }
};
using Narrow = testing::Types<Float16, BFloat16>;
TYPED_TEST_SUITE(Floats16, Narrow);

TYPED_TEST(Floats16, EveryNumberBecomesTheFloatThatItIsAndComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto x = this->of_bits(bits);
    const double expected = this->kFormat.value(x.bits);
    const auto value = static_cast<float>(x);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_EQ(TypeParam(value).bits, 0x7fff) << bits;
      continue;
    }
    ASSERT_EQ(value, expected) << bits;
    ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    ASSERT_EQ(TypeParam(value), x) << bits;
  }
}

/// Between every two neighbours: the middle, and the floats beside it.
TYPED_TEST(Floats16, RoundToTheNearestAndToEvenInTheMiddle) {
  for (std::uint16_t bits = 0; bits < this->kFormat.infinity(); ++bits) {
    const double low = this->kFormat.magnitude(bits);
    const double high = this->kFormat.magnitude(static_cast<std::uint16_t>(bits + 1));
    const auto middle = static_cast<float>((low + high) / 2);
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, HUGE_VALF)})
      for (const float signed_x : {x, -x})
        ASSERT_EQ(TypeParam(signed_x).bits, this->kFormat.nearest(signed_x)) << signed_x;
  }
}

TYPED_TEST(Floats16, RoundAnyFloat) {
  Random random(1);
  for (int i = 0; i < 1'000'000; ++i) {
    const auto x = std::bit_cast<float>(static_cast<std::uint32_t>(random.next()));
    ASSERT_EQ(TypeParam(x).bits, this->kFormat.nearest(x)) << x;
  }
  using Limits = std::numeric_limits<float>;
  for (const float x : {0.0f, -0.0f, Limits::infinity(), -Limits::infinity(), Limits::max(),
                        Limits::lowest(), Limits::min(), Limits::denorm_min(), Limits::quiet_NaN(),
                        -Limits::quiet_NaN(), Limits::signaling_NaN()})
    EXPECT_EQ(TypeParam(x).bits, this->kFormat.nearest(x)) << x;
}

}  // namespace
}  // namespace shoal
