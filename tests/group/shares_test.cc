#include "group/shares.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

/// They follow each other from the first row to the last.
void expect_whole(const Shares& shares) {
  auto next = shares.rows().begin;
  for (std::uint32_t m = 0; m < shares.members(); ++m) {
    EXPECT_EQ(shares.of(m).begin, next);
    EXPECT_LE(shares.of(m).begin, shares.of(m).end);
    next = shares.of(m).end;
  }
  EXPECT_EQ(next, shares.rows().end);
}

TEST(Shares, AreWholeAndNearlyEqual) {
  for (const std::uint32_t members : {1u, 2u, 3u, 5u, 8u, 64u})
    for (const std::uint64_t rows : {0u, 1u, 2u, 7u, 64u, 1000u, 12345u})
      for (const std::uint64_t begin : {0u, 5u, 4096u}) {
        const Shares shares({begin, begin + rows}, members);
        expect_whole(shares);
        EXPECT_EQ(shares.largest(), (rows + members - 1) / members);
        EXPECT_EQ(shares.equal(), rows % members == 0);
      }
}

TEST(Shares, DivideNoUnitWhereThereAreMany) {
  const Shares shares({10, 6500}, 4, 100);  // units 0 to 64, the first and the last in part
  expect_whole(shares);
  for (std::uint32_t m = 1; m < 4; ++m) EXPECT_EQ(shares.of(m).begin % 100, 0u);
  EXPECT_LE(shares.largest(), 1700u);
}

TEST(Shares, DivideUnitsWhereThereAreFew) {
  const Shares shares({0, 700}, 4, 100);
  expect_whole(shares);
  EXPECT_EQ(shares.largest(), 175u);
  EXPECT_TRUE(shares.equal());
}

TEST(Shares, OfTheLargestTableDoNotOverflow) {
  const Shares shares({0, kDenseRowsMax}, 64, 3);
  expect_whole(shares);
  EXPECT_LE(shares.largest(), kDenseRowsMax / 64 + 3);
}

}  // namespace
}  // namespace shoal
