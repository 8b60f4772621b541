#include "core/ops/aggregate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "core/base/random.h"
#include "core/ops/copy_rows.h"
#include "core/ops/row_merger.h"
#include "tests/core/rule_fixture.h"

namespace shoal {
namespace {

using test::UnalignedBytes;

template <class T>
T expected(Aggregate aggregate, T sum, T pushed) {
  switch (aggregate) {
    case Aggregate::sum:
      return static_cast<T>(sum + pushed);
    case Aggregate::last:
      return pushed;
    case Aggregate::min:
      return std::min(sum, pushed);
    case Aggregate::max:
      return std::max(sum, pushed);
  }
  return {};
}

template <class T>
std::vector<T> numbers(Random& random, std::size_t n) {
  std::vector<T> values(n);
  for (auto& value : values) value = test::of_double<T>(2000 * random.uniform() - 1000);
  return values;
}
/// In the type of their sums.
template <class T>
std::vector<Accumulator<T>> addends(const std::vector<T>& pushed) {
  std::vector<Accumulator<T>> values;
  for (const auto value : pushed) values.push_back(static_cast<Accumulator<T>>(value));
  return values;
}

template <class T>
std::byte* bytes(std::vector<T>& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

constexpr Aggregate kAll[] = {Aggregate::sum, Aggregate::last, Aggregate::min, Aggregate::max};

template <class T>
class Aggregates : public ::testing::Test {};
using Types = ::testing::Types<float, double, Float16, BFloat16, std::int32_t, std::int64_t>;
TYPED_TEST_SUITE(Aggregates, Types);

TYPED_TEST(Aggregates, CombineDenseRunsOfEveryLength) {
  using Sum = Accumulator<TypeParam>;
  Random random(1);
  for (const auto aggregate : kAll)
    for (const auto simd : test::simds_here())
      for (const std::size_t n : {0, 1, 7, 8, 31, 33, 100}) {
        const auto* kernels = &aggregate_kernels(aggregate, dtype_of<TypeParam>(), simd);
        std::vector<Sum> sums(n + 1, Sum{42});
        kernels->clear(bytes(sums), n);
        std::vector<Sum> expect;
        for (int push = 0; push < 4; ++push) {
          const auto pushed = numbers<TypeParam>(random, n);
          const auto values = addends(pushed);
          // The first push starts a sum or adds to a cleared one.
          (push == 0 && n % 2 == 0 ? kernels->start : kernels->dense)(
              bytes(sums), UnalignedBytes(pushed).data(), n);
          if (push == 0)
            expect = values;
          else
            for (std::size_t i = 0; i < n; ++i)
              expect[i] = expected(aggregate, expect[i], values[i]);
        }
        std::vector<TypeParam> finished(n + 1, TypeParam(42)), rounded;
        kernels->finish(bytes(finished), bytes(expect), n);
        for (const auto sum : expect) rounded.push_back(static_cast<TypeParam>(sum));
        rounded.push_back(TypeParam(42));
        EXPECT_EQ(finished, rounded);
        expect.push_back(Sum{42});
        EXPECT_EQ(sums, expect) << "aggregate " << static_cast<int>(aggregate) << " n " << n;
      }
}

TYPED_TEST(Aggregates, CombineListedRowsRepeatedOnesToo) {
  constexpr std::size_t kPages = 3;
  constexpr std::uint32_t kShift = 4;
  Random random(2);
  for (const auto aggregate : kAll)
    for (const std::size_t row_values : {1, 2, 5, 8, 40}) {
      const auto& kernels = aggregate_kernels(aggregate, dtype_of<TypeParam>());
      std::vector pages(kPages, std::vector<Accumulator<TypeParam>>(row_values << kShift));
      auto expect = pages;
      std::vector<std::byte*> bases;
      for (auto& page : pages) {
        kernels.clear(bytes(page), page.size());
        bases.push_back(bytes(page));
      }
      for (std::size_t p = 0; p < kPages; ++p) expect[p] = pages[p];
      std::vector<std::uint32_t> positions(100);
      for (auto& position : positions)
        position = static_cast<std::uint32_t>(random.below(kPages << kShift));
      const auto pushed = numbers<TypeParam>(random, positions.size() * row_values);
      const auto values = addends(pushed);
      kernels.rows(bases.data(), kShift, row_values, positions, UnalignedBytes(pushed).data());
      for (std::size_t r = 0; r < positions.size(); ++r)
        for (std::size_t c = 0; c < row_values; ++c) {
          auto& sum = expect[positions[r] >> kShift][(positions[r] & 15) * row_values + c];
          sum = expected(aggregate, sum, values[r * row_values + c]);
        }
      EXPECT_EQ(pages, expect) << row_values;
    }
}

TEST(Aggregates, PassNanThrough) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const auto aggregate : kAll)
    for (const auto simd : test::simds_here())
      for (const std::size_t at : {0, 9, 32, 40}) {
        const auto* kernels = &aggregate_kernels(aggregate, DType::f32, simd);
        std::vector<float> sums(41, 1.0f);
        std::vector<float> pushed(41, 2.0f);
        pushed[at] = kNan;
        kernels->dense(bytes(sums), bytes(pushed), 41);
        for (std::size_t i = 0; i < 41; ++i) EXPECT_EQ(std::isnan(sums[i]), i == at);
        if (aggregate == Aggregate::last) continue;
        pushed[at] = 5.0f;
        kernels->dense(bytes(sums), bytes(pushed), 41);
        EXPECT_TRUE(std::isnan(sums[at]));
      }
}

/// A float of 16 bits would stay at 2048 (f16) or 256 (bf16).
TYPED_TEST(Aggregates, ManyOnesAddUp) {
  const auto& sum = aggregate_kernels(Aggregate::sum, dtype_of<TypeParam>());
  const std::vector<TypeParam> ones(3, TypeParam(1));
  std::vector<Accumulator<TypeParam>> sums(3);
  for (int i = 0; i < 5000; ++i) sum.dense(bytes(sums), UnalignedBytes(ones).data(), 3);
  EXPECT_EQ(sums, std::vector(3, Accumulator<TypeParam>(5000)));
}

TEST(RowMerger, CombinesRepeatedRowsIntoTheFirst) {
  HostDevice device;
  auto merger = RowMerger::create(device, 100, 800).value();
  const auto& sum = aggregate_kernels(Aggregate::sum, DType::f32);
  const std::vector<std::uint32_t> positions{7, 3, 7, 9, 3, 7};
  const std::vector<float> values{1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60};
  const UnalignedBytes unaligned(values);
  const auto merged = merger.merge({positions, unaligned.data()}, sum, DType::f32, 2).value();
  EXPECT_EQ(std::vector<std::uint32_t>(merged.positions.begin(), merged.positions.end()),
            (std::vector<std::uint32_t>{7, 3, 9}));
  std::vector<float> got(6);
  EXPECT_TRUE(merged.inputs.sums);
  std::memcpy(got.data(), merged.inputs.values, sizeof(float) * 6);
  EXPECT_EQ(got, (std::vector<float>{10, 100, 7, 70, 4, 40}));
  EXPECT_TRUE(merger.repeats(positions).value());
}

TEST(RowMerger, SumsOf16BitFloatsAreF32) {
  HostDevice device;
  auto merger = RowMerger::create(device, 5000, 40000).value();
  const auto& sum = aggregate_kernels(Aggregate::sum, DType::bf16);
  std::vector<std::uint32_t> positions(5000, 7);
  positions[0] = 3;
  const std::vector<BFloat16> values(10000, BFloat16(1));
  const auto merged = merger.merge({positions, UnalignedBytes(values).data()}, sum, DType::bf16, 2);
  ASSERT_TRUE(merged.ok());
  ASSERT_TRUE(merged->inputs.sums);
  std::vector<float> got(4);
  std::memcpy(got.data(), merged->inputs.values, sizeof(float) * 4);
  EXPECT_EQ(got, (std::vector<float>{1, 1, 4999, 4999}));
  auto small = RowMerger::create(device, 5000, 39999).value();
  EXPECT_EQ(small
                .merge({positions, reinterpret_cast<const std::byte*>(values.data())}, sum,
                       DType::bf16, 2)
                .code(),
            Errc::overloaded);
}

TEST(RowMerger, LeavesDistinctRowsWhereTheyAre) {
  HostDevice device;
  auto merger = RowMerger::create(device, 4, 16).value();
  const auto& sum = aggregate_kernels(Aggregate::sum, DType::f32);
  const std::vector<std::uint32_t> positions{4, 0xffffffff, 0, 2};
  const std::vector<float> values{1, 2, 3, 4};
  const auto* data = reinterpret_cast<const std::byte*>(values.data());
  for (int call = 0; call < 3; ++call) {  // Nothing of one call is left to the next.
    const auto merged = merger.merge({positions, data}, sum, DType::f32, 1).value();
    EXPECT_EQ(merged.inputs.values, data);
    EXPECT_FALSE(merged.inputs.sums);
    EXPECT_EQ(merged.positions.data(), positions.data());
    EXPECT_FALSE(merger.repeats(positions).value());
  }
}

TEST(RowMerger, ReportsPartsBeyondItsSize) {
  HostDevice device;
  auto merger = RowMerger::create(device, 3, 8).value();
  const auto& sum = aggregate_kernels(Aggregate::sum, DType::f32);
  const std::vector<float> values(4, 1.0f);
  const auto* data = reinterpret_cast<const std::byte*>(values.data());
  const std::vector<std::uint32_t> many{1, 2, 3, 4};
  const std::vector<std::uint32_t> wide{1, 1, 3};
  EXPECT_EQ(merger.merge({many, data}, sum, DType::f32, 1).code(), Errc::overloaded);
  EXPECT_EQ(merger.repeats(many).code(), Errc::overloaded);
  EXPECT_EQ(merger.merge({wide, data}, sum, DType::f32, 1).code(), Errc::overloaded);
  EXPECT_EQ(RowMerger::create(device, 0, 8).code(), Errc::invalid_argument);
}

TEST(RowMerger, AgreesWithAMapOnRandomLists) {
  HostDevice device;
  Random random(5);
  auto merger = RowMerger::create(device, 300, 300 * 8).value();
  const auto& sum = aggregate_kernels(Aggregate::sum, DType::i64);
  for (int round = 0; round < 50; ++round) {
    const auto n = 1 + random.below(300);
    std::vector<std::uint32_t> positions(n);
    std::vector<std::int64_t> values(n);
    std::map<std::uint32_t, std::int64_t> expect;
    for (std::size_t i = 0; i < n; ++i) {
      positions[i] = static_cast<std::uint32_t>(random.below(200) << 20);
      values[i] = static_cast<std::int64_t>(random.below(1000));
      expect[positions[i]] += values[i];
    }
    const auto merged = merger.merge({positions, bytes(values)}, sum, DType::i64, 1).value();
    ASSERT_EQ(merged.positions.size(), expect.size());
    for (std::size_t i = 0; i < merged.positions.size(); ++i) {
      std::int64_t value;
      std::memcpy(&value, merged.inputs.values + i * 8, 8);
      EXPECT_EQ(value, expect.at(merged.positions[i]));
    }
  }
}

TEST(CopyRows, GatherIsTheOppositeOfScatter) {
  const auto rules = RuleSet::builtin();
  for (const std::uint32_t width : {1, 2, 3, 17}) {
    test::Pages<float> pages(*rules.find("add"), 3, 10, width, true);
    std::vector<std::uint32_t> positions;
    for (std::size_t row = 0; row < 10; ++row)
      for (std::size_t page = 0; page < 3; ++page)
        positions.push_back(pages.position(2 - page, row));
    Random random(width);
    const auto values = numbers<float>(random, positions.size() * width);
    scatter_rows(pages.listed(positions), DType::f32, UnalignedBytes(values).data());
    EXPECT_EQ(pages.weights(2)[0], values[0]);

    // Twice, with a row that is not there between.
    auto twice = positions;
    twice.push_back(kAbsentRow);
    twice.insert(twice.end(), positions.begin(), positions.end());
    std::vector<float> out(twice.size() * width, -7.0f);
    gather_rows(pages.listed(twice), DType::f32, bytes(out));
    auto expect = values;
    expect.insert(expect.end(), width, -7.0f);
    expect.insert(expect.end(), values.begin(), values.end());
    EXPECT_EQ(out, expect);
  }
}

}  // namespace
}  // namespace shoal
