#include "tests/kernels/list_checks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include "core/base/random.h"
#include "core/ops/aggregate.h"
#include "core/ops/copy_rows.h"
#include "core/ops/row_merger.h"

namespace shoal::test {

namespace {

constexpr auto kUnbounded = std::numeric_limits<float>::infinity();

template <class T>
T* room(Target& target, std::size_t count) {
  return reinterpret_cast<T*>(target.allocate(std::max<std::size_t>(1, count) * sizeof(T)));
}

template <class T>
struct Field {
  Field(Target& target, std::uint32_t row_count, std::uint32_t row_width)
      : rows(row_count),
        width(row_width),
        values(room<T>(target, std::size_t{rows} * width)),
        base(room<T>(target, std::size_t{rows} * width)) {
    Random random(rows + width);
    for (std::size_t i = 0; i < std::size_t{rows} * width; ++i) {
      base[i] = static_cast<T>(static_cast<float>(random.below(16)) / 4);
      // A third of the rows is as it was; of the others many differ by the same.
      const float change = i / width % 3 == 0 ? 0 : static_cast<float>(random.below(9)) / 4 - 1;
      values[i] = static_cast<T>(static_cast<float>(base[i]) + change);
    }
    if (rows > 20) values[17 * width + width / 2] = static_cast<T>(std::nanf(""));
  }
  cuda::RowArray array() const {
    return {reinterpret_cast<std::byte*>(values), dtype_of<T>(), rows, width};
  }
  std::byte* base_bytes() const { return reinterpret_cast<std::byte*>(base); }
  float score(std::uint32_t row, bool against_base) const {
    using S = Accumulator<T>;
    S most = 0;
    for (std::size_t i = std::size_t{row} * width; i < (std::size_t{row} + 1) * width; ++i) {
      const S change = against_base ? static_cast<S>(values[i]) - static_cast<S>(base[i])
                                    : static_cast<S>(values[i]);
      if (std::isnan(change)) return kUnbounded;
      most = std::max(most, std::fabs(change));
    }
    return static_cast<float>(most);
  }

  std::uint32_t rows, width;
  T* values;
  T* base;
};

template <class T>
void check_choices_of(Target& target, Chooser& chooser) {
  for (const std::uint32_t width : {1, 3, 8, 64, 100})
    for (const std::uint32_t rows : {0, 1, 2, 31, 255, 256, 257, 3000}) {
      SCOPED_TRACE(testing::Message() << rows << " rows of " << width);
      const Field<T> field(target, rows, width);
      for (const bool against_base : {true, false}) {
        const auto* base = against_base ? field.base_bytes() : nullptr;
        std::vector<float> scores(rows);
        for (std::uint32_t r = 0; r < rows; ++r) scores[r] = field.score(r, against_base);
        for (const float threshold : {0.0f, 0.5f, 100.0f}) {
          std::vector<std::uint32_t> expected;
          for (std::uint32_t r = 0; r < rows; ++r)
            if (scores[r] > threshold) expected.push_back(r);
          chooser.choose_above(field.array(), base, threshold);
          ASSERT_EQ(chooser.chosen(), expected) << "above " << threshold;
        }
        for (const std::uint32_t k : {0u, 1u, rows / 3, rows, rows + 5}) {
          std::vector<std::uint32_t> expected(rows);
          std::iota(expected.begin(), expected.end(), 0u);
          std::stable_sort(expected.begin(), expected.end(),
                           [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
          expected.resize(std::min(k, rows));
          std::erase_if(expected, [&](std::uint32_t r) { return scores[r] == 0; });
          std::sort(expected.begin(), expected.end());
          chooser.choose_top(field.array(), base, k);
          ASSERT_EQ(chooser.chosen(), expected) << "top " << k;
        }
      }
    }
}

template <class T>
void check_takes_of(Target& target, Chooser& chooser) {
  constexpr std::byte kPoison{0x6b};
  for (const std::uint32_t width : {1, 2, 3, 4, 16, 70})
    for (const auto what : {cuda::Taken::kept, cuda::Taken::cleared, cuda::Taken::recorded}) {
      SCOPED_TRACE(testing::Message() << name_of(dtype_of<T>()) << ", width " << width << ", "
                                      << static_cast<int>(what));
      constexpr std::uint32_t kRows = 500;
      const Field<T> field(target, kRows, width);
      const auto row_bytes = width * sizeof(T);
      const auto bytes = kRows * row_bytes;
      const std::vector<T> values(field.values, field.values + kRows * width);
      const std::vector<T> base(field.base, field.base + kRows * width);
      auto* keys = room<std::uint64_t>(target, kRows);
      auto* out_keys = room<std::uint64_t>(target, kRows);
      auto* out = target.allocate(bytes);
      for (std::uint32_t r = 0; r < kRows; ++r) keys[r] = mix64(r);
      std::memset(out, std::to_integer<int>(kPoison), bytes);
      std::memset(out_keys, std::to_integer<int>(kPoison), kRows * sizeof(std::uint64_t));
      chooser.choose_above(field.array(), field.base_bytes(), 0.25f);
      const auto chosen = chooser.chosen();
      ASSERT_GT(chosen.size(), 10u);
      chooser.take_keys(keys, kRows, out_keys);
      chooser.take(field.array(), field.base_bytes(), what, out);
      target.finish();
      std::vector<bool> taken(kRows);
      const std::vector<T> zeros(width, T{});
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        taken[chosen[i]] = true;
        ASSERT_EQ(0, std::memcmp(out + i * row_bytes, &values[chosen[i] * width], row_bytes));
        ASSERT_EQ(out_keys[i], keys[chosen[i]]);
      }
      for (auto i = chosen.size() * row_bytes; i < bytes; ++i) ASSERT_EQ(out[i], kPoison);
      for (std::uint32_t r = 0; r < kRows; ++r) {
        const bool cleared = taken[r] && what == cuda::Taken::cleared;
        const bool recorded = taken[r] && what == cuda::Taken::recorded;
        ASSERT_EQ(0, std::memcmp(field.values + r * width,
                                 cleared ? zeros.data() : &values[r * width], row_bytes));
        ASSERT_EQ(0, std::memcmp(field.base + r * width,
                                 recorded ? &values[r * width] : &base[r * width], row_bytes));
      }
    }
}

template <class T>
void check_merges_of(Target& target, Merger& merger, Aggregate aggregate) {
  using S = Accumulator<T>;
  HostDevice host;
  auto expected_merger = RowMerger::create(host, kListMax, kSumsMax).value();
  const auto& kernels = aggregate_kernels(aggregate, dtype_of<T>());
  for (const std::size_t row_values : {1, 3, 8, 64})
    for (const std::uint32_t count : {0, 1, 2, 300, 3000}) {
      SCOPED_TRACE(testing::Message()
                   << name_of(dtype_of<T>()) << ", " << count << " rows of " << row_values);
      Random random(count + row_values);
      auto* positions = room<std::uint32_t>(target, count);
      auto* pushed = room<T>(target, count * row_values);
      std::vector<std::uint32_t> there;
      std::vector<T> pushed_there;
      for (std::uint32_t r = 0; r < count; ++r) {
        const bool absent = random.chance(0.1);
        positions[r] =
            absent ? kAbsentRow : static_cast<std::uint32_t>(random.below(1 + count / 3) * 7);
        for (std::size_t v = 0; v < row_values; ++v)
          pushed[r * row_values + v] = static_cast<T>(static_cast<float>(random.below(1000)) / 7);
        if (absent) continue;
        there.push_back(positions[r]);
        pushed_there.insert(pushed_there.end(), pushed + r * row_values,
                            pushed + (r + 1) * row_values);
      }
      const auto merged = merger.merge(
          {positions, count, reinterpret_cast<const std::byte*>(pushed), dtype_of<T>(), row_values},
          aggregate);
      const auto expected =
          expected_merger
              .merge({there, reinterpret_cast<const std::byte*>(pushed_there.data())}, kernels,
                     dtype_of<T>(), row_values)
              .value();
      std::vector<S> expected_sums(expected.positions.size() * row_values);
      if (expected.inputs.sums && !expected_sums.empty())
        std::memcpy(expected_sums.data(), expected.inputs.values, expected_sums.size() * sizeof(S));
      else
        kernels.start(reinterpret_cast<std::byte*>(expected_sums.data()), expected.inputs.values,
                      expected_sums.size());
      std::map<std::uint32_t, std::size_t> place_of;
      for (std::size_t i = 0; i < expected.positions.size(); ++i)
        place_of[expected.positions[i]] = i;
      ASSERT_EQ(merged.positions.size(), count);
      auto next = place_of.begin();
      for (std::size_t r = 0; r < merged.positions.size(); ++r) {
        if (next == place_of.end()) {
          ASSERT_EQ(merged.positions[r], kAbsentRow);
          continue;
        }
        ASSERT_EQ(merged.positions[r], next->first);
        ASSERT_EQ(0,
                  std::memcmp(merged.sums.data() + r * row_values * sizeof(S),
                              &expected_sums[next->second * row_values], row_values * sizeof(S)));
        ++next;
      }
      ASSERT_TRUE(next == place_of.end());
    }
}

}  // namespace

void check_choices(Target& target, Chooser& chooser, DType dtype) {
  if (dtype == DType::f16) return check_choices_of<Float16>(target, chooser);
  if (dtype == DType::bf16) return check_choices_of<BFloat16>(target, chooser);
  if (dtype == DType::f64) return check_choices_of<double>(target, chooser);
  check_choices_of<float>(target, chooser);
}

void check_takes(Target& target, Chooser& chooser) {
  check_takes_of<float>(target, chooser);
  check_takes_of<Float16>(target, chooser);
  check_takes_of<double>(target, chooser);
}

void check_merges(Target& target, Merger& merger) {
  for (const auto aggregate : {Aggregate::sum, Aggregate::last, Aggregate::min, Aggregate::max}) {
    check_merges_of<float>(target, merger, aggregate);
    check_merges_of<double>(target, merger, aggregate);
    check_merges_of<Float16>(target, merger, aggregate);
    check_merges_of<BFloat16>(target, merger, aggregate);
    check_merges_of<std::int32_t>(target, merger, aggregate);
    check_merges_of<std::int64_t>(target, merger, aggregate);
  }
}

}  // namespace shoal::test
