#include "core/ops/initializer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/ops/initial_value.h"

namespace shoal {
namespace {

using Kind = Initializer::Kind;

template <class T>
std::vector<T> rows(const Initializer& init, Row first, std::size_t count, std::uint32_t width) {
  std::vector<T> values(count * width, T{77});
  write_initial_rows(init, dtype_of<T>(), first, count, width,
                     reinterpret_cast<std::byte*>(values.data()));
  return values;
}

/// The sum of squares of deviations, in units of what is expected of n values.
struct Moments {
  double mean = 0;
  double variance = 0;
};
template <class T>
Moments moments(const std::vector<T>& values) {
  Moments m;
  const auto n = static_cast<double>(values.size());
  for (const auto v : values) m.mean += static_cast<double>(v) / n;
  for (const auto v : values) m.variance += std::pow(static_cast<double>(v) - m.mean, 2) / n;
  return m;
}

TEST(Initializer, ZeroAndConstant) {
  EXPECT_EQ(rows<float>({}, 5, 3, 2), std::vector<float>(6, 0.0f));
  EXPECT_EQ(rows<double>({Kind::constant, 0.25}, 5, 3, 2), std::vector<double>(6, 0.25));
  EXPECT_EQ(rows<std::int32_t>({Kind::constant, -3}, 0, 2, 1), std::vector<std::int32_t>(2, -3));
  EXPECT_EQ(rows<std::int64_t>({Kind::constant, 0x1p53}, 0, 1, 1)[0], std::int64_t{1} << 53);
}

TEST(Initializer, RoundsTo16Bits) {
  for (const Initializer& init :
       {Initializer{}, Initializer{Kind::constant, 0.1}, Initializer{Kind::uniform, -1, 2, 3},
        Initializer{Kind::normal, 0, 0.02, 3}}) {
    const auto wide = rows<float>(init, 7, 30, 5);
    const auto half = rows<Float16>(init, 7, 30, 5);
    const auto brain = rows<BFloat16>(init, 7, 30, 5);
    for (std::size_t i = 0; i < wide.size(); ++i) {
      EXPECT_EQ(half[i], Float16(wide[i]));
      EXPECT_EQ(brain[i], BFloat16(wide[i]));
    }
  }
}

TEST(Initializer, IsAFunctionOfSeedRowAndColumn) {
  for (const auto kind : {Kind::uniform, Kind::normal}) {
    const Initializer init{kind, -1, 2, 11};
    const auto all = rows<float>(init, 100, 50, 3);
    // Any part of it, in any order, gives the same bits.
    for (Row row = 149; row >= 100; --row) {
      std::vector<float> one(3);
      write_initial_row(init, DType::f32, row, 3, reinterpret_cast<std::byte*>(one.data()));
      EXPECT_EQ(one, std::vector<float>(all.begin() + 3 * static_cast<int>(row - 100),
                                        all.begin() + 3 * static_cast<int>(row - 99)));
    }
    auto other = init;
    other.seed = 12;
    EXPECT_NE(rows<float>(other, 100, 50, 3), all);
  }
}

/// Bits that another machine, compiler or version must reproduce: checkpoints do not hold rows that
/// were never pushed.
TEST(Initializer, KeepsItsBitsForEver) {
  const auto normal = rows<double>({Kind::normal, 0, 1, 1}, 0, 4, 1);
  const auto uniform = rows<double>({Kind::uniform, 0, 1, 1}, 0, 4, 1);
  const std::vector<double> expect_normal{0x1.02fc3372f095ep-1, -0x1.a1ceb2e7ffd83p-2,
                                          0x1.48f8679de6fe5p+0, 0x1.ed54b91f8f703p-1};
  const std::vector<double> expect_uniform{0x1.631405e8db1b1p-1, 0x1.5dd4992a69f86p-2,
                                           0x1.cd1cdf803be11p-1, 0x1.aa2b36e686545p-1};
  EXPECT_EQ(normal, expect_normal);
  EXPECT_EQ(uniform, expect_uniform);
}

TEST(Initializer, HasTheMomentsOfItsDistribution) {
  constexpr std::size_t kCount = 40000;
  const auto uniform = rows<float>({Kind::uniform, -1, 3, 5}, 0, kCount, 1);
  EXPECT_NEAR(moments(uniform).mean, 1.0, 0.03);
  EXPECT_NEAR(moments(uniform).variance, 16.0 / 12, 0.03);
  for (const auto value : uniform) ASSERT_TRUE(value >= -1 && value <= 3);
  const auto normal = rows<float>({Kind::normal, 2, 0.5, 5}, 0, kCount / 4, 4);
  EXPECT_NEAR(moments(normal).mean, 2.0, 0.015);
  EXPECT_NEAR(moments(normal).variance, 0.25, 0.01);
  std::size_t far = 0;
  for (const auto value : normal) far += std::fabs(value - 2) > 2 * 0.5 ? 1 : 0;
  EXPECT_NEAR(static_cast<double>(far) / kCount, 0.0455, 0.004);
  const auto whole = rows<std::int32_t>({Kind::uniform, -2, 2, 5}, 0, kCount, 1);
  int counts[5] = {};
  for (const auto value : whole) {
    ASSERT_TRUE(value >= -2 && value <= 2);
    ++counts[value + 2];
  }
  for (const auto count : counts) EXPECT_NEAR(count, kCount / 5, 400);
  EXPECT_NEAR(moments(rows<std::int64_t>({Kind::normal, 0, 100, 5}, 0, kCount, 1)).variance, 10000,
              300);
}

/// Against libm: the quantile of p must have the cumulative probability p.
TEST(NormalQuantile, InvertsTheDistribution) {
  for (const double p : {1e-300, 1e-100, 1e-16, 1e-7, 0.001, 0.02, 0.0749, 0.0751, 0.3, 0.5, 0.7,
                         0.9249, 0.9251, 0.99, 1 - 1e-7}) {
    const double x = math::normal_quantile(p);
    const double back = 0.5 * std::erfc(-x / std::sqrt(2.0));
    EXPECT_NEAR(back / p, 1, 1e-12 * (1 + x * x)) << p;
    EXPECT_NEAR((1 - back) / (1 - p), 1, 1e-8) << p;
  }
}

TEST(Log, AgreesWithTheLibrary) {
  for (double x = 1e-300; x < 1e300; x *= 1.37)
    EXPECT_NEAR(math::log(x), std::log(x), 3e-16 * (1 + std::fabs(std::log(x)))) << x;
  EXPECT_EQ(math::log(1.0), 0.0);
}

TEST(Initializer, RefusesNonsense) {
  const double nan = std::nan("");
  EXPECT_TRUE(validate(Initializer{}, DType::i32).ok());
  EXPECT_TRUE(validate(Initializer{Kind::uniform, -1, 1}, DType::f32).ok());
  EXPECT_TRUE(validate(Initializer{Kind::normal, 0, 0}, DType::f64).ok());
  for (const Initializer& init :
       {Initializer{Kind::constant, nan}, Initializer{Kind::uniform, 1, -1},
        Initializer{Kind::uniform, 0, nan}, Initializer{Kind::uniform, -1e308, 1e308},
        Initializer{Kind::normal, 0, -1}, Initializer{Kind::normal, 0, HUGE_VAL}})
    EXPECT_EQ(validate(init, DType::f64).code(), Errc::invalid_argument) << init.a << ' ' << init.b;
  EXPECT_EQ(validate(Initializer{Kind::constant, 0.5}, DType::i32).code(), Errc::invalid_argument);
  EXPECT_EQ(validate(Initializer{Kind::constant, 0x1p31}, DType::i32).code(),
            Errc::invalid_argument);
  EXPECT_TRUE(validate(Initializer{Kind::constant, 0x1p31}, DType::i64).ok());
  EXPECT_TRUE(validate(Initializer{Kind::constant, 65504}, DType::f16).ok());
  EXPECT_EQ(validate(Initializer{Kind::constant, 65520}, DType::f16).code(),
            Errc::invalid_argument);
  EXPECT_TRUE(validate(Initializer{Kind::normal, 0, 65520}, DType::bf16).ok());
  EXPECT_EQ(validate(Initializer{Kind::normal, 0, 1e39}, DType::f32).code(),
            Errc::invalid_argument);
}

}  // namespace
}  // namespace shoal
