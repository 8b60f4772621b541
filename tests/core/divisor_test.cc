#include "core/base/divisor.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/base/random.h"

namespace shoal {
namespace {

constexpr std::uint64_t kDividendMax = (std::uint64_t{1} << 63) - 1;

void expect_right(std::uint64_t dividend, std::uint64_t by) {
  ASSERT_EQ(dividend / Divisor(by), dividend / by) << dividend << " / " << by;
}

TEST(Divisor, DividesAsTheProcessorDoes) {
  Random random(3);
  for (int i = 0; i < 1'000'000; ++i) {
    // Of all sizes.
    const auto by = std::max<std::uint64_t>(random.next() >> (2 + random.next() % 62), 1);
    expect_right((random.next() >> 1) >> random.next() % 63, by);
  }
}

TEST(Divisor, IsRightWhereItIsTight) {
  for (int bit = 0; bit < 62; ++bit)
    for (const auto off : {-1, 0, 1}) {
      const auto by = (std::uint64_t{1} << bit) + static_cast<std::uint64_t>(off);
      if (by == 0) continue;
      expect_right(0, by);
      expect_right(kDividendMax, by);
      for (const auto times : {std::uint64_t{1}, std::uint64_t{3}, kDividendMax / by}) {
        if (times == 0 || by > kDividendMax / times) continue;
        expect_right(times * by - 1, by);
        expect_right(times * by, by);
        if (times * by < kDividendMax) expect_right(times * by + 1, by);
      }
    }
}

TEST(Divisor, TakesZeroForOne) { EXPECT_EQ(7u / Divisor(0), 7u); }

}  // namespace
}  // namespace shoal
