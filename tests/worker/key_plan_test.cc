#include "worker/engine/key_plan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "core/base/random.h"

namespace shoal {
namespace {

TableSpec sparse_spec(std::uint32_t width) {
  TableSpec spec;
  spec.name = "t";
  spec.layout = Layout::sparse;
  spec.row_width = width;
  return spec;
}

std::vector<std::uint32_t> ranks(std::uint32_t slots) {
  std::vector<std::uint32_t> rank(slots);
  std::iota(rank.begin(), rank.end(), 0u);
  return rank;
}

TEST(KeyPlan, GroupsByTheWantedOrderOfSlots) {
  const auto spec = sparse_spec(1);
  const Geometry geometry(spec, 8);
  std::vector<std::uint32_t> rank = {7, 6, 5, 4, 3, 2, 1, 0};
  Random random(1);
  std::vector<Key> keys(1000);
  for (auto& key : keys) key = random.next();
  KeyPlan plan;
  KeyPlan::Scratch scratch;
  plan.group(keys, geometry, rank, false, scratch);
  std::uint64_t at = 0;
  std::uint32_t last_rank = 0;
  for (const auto& group : plan.groups()) {
    EXPECT_EQ(group.begin, at);
    EXPECT_GE(rank[group.slot.value], last_rank);
    last_rank = rank[group.slot.value];
    for (auto i = group.begin; i < group.begin + group.count; ++i)
      EXPECT_EQ(geometry.slot_of_key(plan.keys()[i]), group.slot);
    at += group.count;
  }
  EXPECT_EQ(at, keys.size());
}

TEST(KeyPlan, PullsAnswerEachPositionOfRepeatedKeys) {
  const auto spec = sparse_spec(2);
  const Geometry geometry(spec, 4);
  const std::vector<Key> keys = {5, 0, 5, ~Key{0}, 7, 0};
  KeyPlan plan;
  KeyPlan::Scratch scratch;
  plan.group(keys, geometry, ranks(4), false, scratch);
  ASSERT_EQ(plan.keys().size(), keys.size());
  plan.reserve_values(sizeof(float) * 2);
  auto* served = reinterpret_cast<float*>(plan.values_memory().data);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    served[2 * i] = static_cast<float>(plan.keys()[i] % 100);
    served[2 * i + 1] = 1;
  }
  std::vector<float> values(keys.size() * 2);
  plan.scatter(host_view(std::span(values)), sizeof(float) * 2);
  for (std::size_t i = 0; i < keys.size(); ++i)
    EXPECT_EQ(values[2 * i], static_cast<float>(keys[i] % 100)) << i;
}

struct Folding {
  Aggregate aggregate;
  double (*combine)(double, double);
};

class KeyPlanFold : public testing::TestWithParam<std::uint64_t> {
 protected:
  template <class T>
  void combines_as_a_map_does();
};

/// Sums are exact in the type's accumulator, and rounded once.
template <class T>
void KeyPlanFold::combines_as_a_map_does() {
  const Folding foldings[] = {
      {Aggregate::sum, [](double a, double b) { return a + b; }},
      {Aggregate::last, [](double, double b) { return b; }},
      {Aggregate::min, [](double a, double b) { return std::fmin(a, b); }},
      {Aggregate::max, [](double a, double b) { return std::fmax(a, b); }},
  };
  Random random(GetParam());
  const std::uint32_t width = 1 + static_cast<std::uint32_t>(random.below(3));
  const auto spec = sparse_spec(width);
  const std::uint32_t slots = 1u << random.below(6);
  const Geometry geometry(spec, slots);
  const auto count = random.below(2000);
  const auto universe = 1 + random.below(1500);
  std::vector<Key> keys(count);
  std::vector<double> values(count * width);
  for (auto& key : keys) key = mix64(random.below(universe));
  for (auto& value : values) value = static_cast<double>(random.below(64));
  std::vector<T> pushed;
  for (const auto value : values) pushed.push_back(T(static_cast<Accumulator<T>>(value)));
  KeyPlan plan;  // reused: nothing of one list may show in the next
  KeyPlan::Scratch scratch;
  for (const auto& folding : foldings) {
    std::map<Key, std::vector<double>> expected;
    for (std::size_t i = 0; i < count; ++i) {
      const std::vector<double> row(values.begin() + static_cast<std::ptrdiff_t>(i * width),
                                    values.begin() + static_cast<std::ptrdiff_t>((i + 1) * width));
      auto [at, fresh] = expected.emplace(keys[i], row);
      if (!fresh)
        for (std::uint32_t c = 0; c < width; ++c)
          at->second[c] = folding.combine(at->second[c], row[c]);
    }
    plan.group(keys, geometry, ranks(slots), true, scratch);
    plan.gather(host_view(std::span<const T>(pushed)), dtype_of<T>(), width, folding.aggregate,
                scratch);
    ASSERT_EQ(plan.keys().size(), expected.size());
    const auto* folded = reinterpret_cast<const T*>(plan.values_memory().data);
    for (const auto& group : plan.groups())
      for (auto i = group.begin; i < group.begin + group.count; ++i) {
        EXPECT_EQ(geometry.slot_of_key(plan.keys()[i]), group.slot);
        for (std::uint32_t c = 0; c < width; ++c)
          EXPECT_EQ(folded[i * width + c],
                    T(static_cast<Accumulator<T>>(expected.at(plan.keys()[i])[c])));
      }
  }
}

TEST_P(KeyPlanFold, CombinesRepeatedKeysAsAMapDoes) {
  combines_as_a_map_does<double>();
  combines_as_a_map_does<Float16>();
  combines_as_a_map_does<BFloat16>();
}

INSTANTIATE_TEST_SUITE_P(Seeds, KeyPlanFold, testing::Range<std::uint64_t>(1, 60));

TEST(KeyPlan, DenseRowsGroupBySlotOfTheirSegment) {
  TableSpec spec;
  spec.name = "d";
  spec.rows = 65536 * 10;
  const Geometry geometry(spec, 5);
  const std::vector<Key> keys = {65536 * 9, 0, 65536 * 4, 1, 65536 * 9 + 1};
  KeyPlan plan;
  KeyPlan::Scratch scratch;
  plan.group(keys, geometry, ranks(5), true, scratch);
  const std::vector<Key> grouped(plan.keys().begin(), plan.keys().end());
  EXPECT_EQ(grouped, (std::vector<Key>{0, 1, 65536 * 4, 65536 * 9, 65536 * 9 + 1}));
  ASSERT_EQ(plan.groups().size(), 3u);
  EXPECT_EQ(plan.groups()[1].slot, SlotIndex(2));
}

}  // namespace
}  // namespace shoal
