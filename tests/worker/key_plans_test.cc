#include "worker/engine/key_plans.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/base/random.h"

namespace shoal {
namespace {

TableSpec sparse_spec() {
  TableSpec spec;
  spec.name = "t";
  spec.layout = Layout::sparse;
  return spec;
}

class KeyPlansTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kSlots = 8;

  KeyPlansTest() : ranks(kSlots), geometry(sparse_spec(), kSlots) {
    std::iota(ranks.begin(), ranks.end(), 0u);
  }
  std::vector<Key> list(std::uint64_t seed, std::size_t count) {
    Random random(seed);
    std::vector<Key> keys(count);
    for (auto& key : keys) key = random.next();
    return keys;
  }
  std::unique_ptr<KeyPlan> take(KeyPlans& plans, const std::vector<Key>& keys, bool fold = true,
                                std::uint32_t table = 1) {
    return plans.take(keys, {TableId(table), geometry, ranks, fold});
  }
  /// Whether a use of the list takes a plan that was kept.
  bool known(KeyPlans& plans, const std::vector<Key>& keys, bool fold = true,
             std::uint32_t table = 1) {
    const auto before = plans.kept();
    auto plan = take(plans, keys, fold, table);
    expect_groups(*plan, keys);
    const bool was_kept = plans.kept() < before;
    plans.give(std::move(plan));
    return was_kept;
  }
  void expect_groups(const KeyPlan& plan, std::vector<Key> keys) {
    std::vector<Key> grouped(plan.keys().begin(), plan.keys().end());
    for (const auto& group : plan.groups())
      for (auto i = group.begin; i < group.begin + group.count; ++i)
        EXPECT_EQ(geometry.slot_of_key(grouped[i]), group.slot);
    std::sort(grouped.begin(), grouped.end());
    std::sort(keys.begin(), keys.end());
    EXPECT_EQ(grouped, keys);
  }

  std::vector<std::uint32_t> ranks;
  Geometry geometry;
};

TEST_F(KeyPlansTest, TheSecondUseKeepsThePlanAndSignsIt) {
  KeyPlans plans(1, 1u << 20);
  const auto keys = list(1, 1000);
  auto first = take(plans, keys);
  EXPECT_TRUE(first->signatures().empty());
  plans.give(std::move(first));
  EXPECT_EQ(plans.kept(), 0u);

  auto second = take(plans, keys);
  ASSERT_EQ(second->signatures().size(), second->groups().size());
  for (const auto& group : second->groups())
    EXPECT_EQ(second->signatures()[group.first_part],
              signature_of(second->keys().subspan(group.begin, group.count)));
  const auto* memory = second.get();
  plans.give(std::move(second));
  EXPECT_EQ(plans.kept(), 1u);
  auto third = take(plans, keys);
  EXPECT_EQ(third.get(), memory);
  expect_groups(*third, keys);
}

TEST_F(KeyPlansTest, AListThatChangesInPlaceIsAnotherList) {
  KeyPlans plans(1, 1u << 20);
  auto keys = list(2, 1000);
  known(plans, keys);
  known(plans, keys);
  EXPECT_TRUE(known(plans, keys));
  for (const std::size_t at : {0u, 500u, 999u}) {
    auto changed = keys;
    changed[at] ^= 1;
    EXPECT_FALSE(known(plans, changed)) << at;
  }
  auto shorter = keys;
  shorter.pop_back();
  EXPECT_FALSE(known(plans, shorter));
  std::swap(keys[3], keys[4]);
  EXPECT_FALSE(known(plans, keys));
}

TEST_F(KeyPlansTest, TablesDoNotShareAndMovedSlotsVoidAll) {
  KeyPlans plans(1, 1u << 20);
  const auto keys = list(3, 1000);
  known(plans, keys);
  known(plans, keys);
  EXPECT_FALSE(known(plans, keys, true, 2));
  EXPECT_TRUE(known(plans, keys));
  auto in_use = take(plans, keys);
  std::reverse(ranks.begin(), ranks.end());
  plans.forget();
  plans.give(std::move(in_use));
  EXPECT_EQ(plans.kept(), 0u);
  auto plan = take(plans, keys);
  EXPECT_EQ(plan->groups().front().slot, SlotIndex(kSlots - 1));
}

TEST_F(KeyPlansTest, PushesAndPullsShareOnlyListsWithoutRepeats) {
  KeyPlans plans(1, 1u << 20);
  auto keys = list(4, 1000);
  known(plans, keys);
  known(plans, keys);
  EXPECT_TRUE(known(plans, keys, false));
  keys[10] = keys[20];
  plans.give(take(plans, keys));
  plans.give(take(plans, keys));
  EXPECT_EQ(take(plans, keys)->keys().size(), keys.size() - 1);
  EXPECT_EQ(take(plans, keys, false)->keys().size(), keys.size());
}

TEST_F(KeyPlansTest, OperationsUnderWayAtOnceHavePlansOfTheirOwn) {
  KeyPlans plans(1, 1u << 20);
  const auto keys = list(5, 1000);
  known(plans, keys);
  auto a = take(plans, keys);
  auto b = take(plans, keys);
  EXPECT_NE(a.get(), b.get());
  plans.give(std::move(a));
  plans.give(std::move(b));
  a = take(plans, keys);
  b = take(plans, keys);
  EXPECT_EQ(plans.kept(), 0u) << "both are kept";
}

TEST_F(KeyPlansTest, WhatIsKeptIsBounded) {
  KeyPlans plans(1, 100'000);
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const auto keys = list(seed, 500 + 10 * seed);
    known(plans, keys);
    known(plans, keys);
    EXPECT_LE(plans.kept_bytes(), 100'000u);
  }
  EXPECT_GE(plans.kept(), 2u);
  EXPECT_TRUE(known(plans, list(49, 990))) << "the last one is still there";
  EXPECT_FALSE(known(plans, list(0, 500)));
}

TEST_F(KeyPlansTest, AThousandListsTakeTurns) {
  constexpr std::uint64_t kLists = 1000;
  KeyPlans plans(1, 64u << 20);
  std::vector<std::vector<Key>> lists;
  for (std::uint64_t seed = 0; seed < kLists; ++seed) lists.push_back(list(seed, 100));
  for (int pass = 0; pass < 2; ++pass)
    for (const auto& keys : lists) plans.give(take(plans, keys));
  // Two whose hashes fall together remember one of the two.
  EXPECT_GT(plans.kept(), kLists * 9 / 10);
  const auto kept = plans.kept();
  std::size_t found = 0;
  for (const auto& keys : lists) found += known(plans, keys) ? 1 : 0;
  EXPECT_EQ(found, kept);
}

TEST_F(KeyPlansTest, NothingIsKeptWithoutMemory) {
  KeyPlans plans(1, 0);
  const auto keys = list(7, 1000);
  for (int i = 0; i < 4; ++i) {
    auto plan = take(plans, keys);
    EXPECT_TRUE(plan->signatures().empty());
    plans.give(std::move(plan));
  }
  EXPECT_EQ(plans.kept(), 0u);
}

TEST_F(KeyPlansTest, ShortListsAreGroupedEachTime) {
  KeyPlans plans(256, 1u << 20);
  const auto keys = list(6, 255);
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(known(plans, keys));
  EXPECT_EQ(plans.kept(), 0u);
}

}  // namespace
}  // namespace shoal
