#include "server/engine/key_lists.h"

#include <gtest/gtest.h>

#include "core/base/random.h"
#include "server/engine/slot.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

using test::bytes_of;
using test::StoreFixture;

class KeyListsTest : public testing::Test {
 protected:
  KeyListsTest()
      : rules(fixture.rules(sparse_spec(), 1)),
        slot(SlotState::create(rules, SlotIndex(0), {}, fixture.context()).value()) {}

  static TableSpec sparse_spec() {
    TableSpec spec;
    spec.name = "t";
    spec.layout = Layout::sparse;
    spec.apply = Apply::on_arrival;
    return spec;
  }
  static std::vector<Key> list(std::uint64_t seed, std::size_t count = 100) {
    Random random(seed);
    std::vector<Key> keys(count);
    for (auto& key : keys) key = random.next();
    return keys;
  }
  void push(const std::vector<Key>& keys, float value = 1) {
    const std::vector<float> values(keys.size(), value);
    PartRows rows;
    rows.listed = true;
    rows.keys = keys;
    ASSERT_EQ(slot->apply(0, {}, {}, rows, bytes_of(values)), Outcome::applied);
  }
  /// By what the server keeps.
  std::vector<float> pull(const KeyLists::Rows& kept) {
    PartRows rows;
    rows.listed = true;
    rows.keys = kept.keys;
    rows.positions = kept.positions;
    std::vector<float> values(rows.count(), -1);
    EXPECT_EQ(slot->gather(rows, bytes_of(values)), Outcome::applied);
    return values;
  }

  StoreFixture fixture;
  TableRules rules;
  std::unique_ptr<SlotState> slot;
};

TEST_F(KeyListsTest, PositionsOutliveTheGrowthOfTheSlot) {
  KeyLists lists(1u << 20);
  const auto keys = list(1);
  push(keys, 3);
  lists.put(*slot, signature_of(keys), keys);
  for (std::uint64_t seed = 2; seed < 300; ++seed) push(list(seed, 400));
  const auto kept = lists.find(*slot, signature_of(keys), keys.size());
  ASSERT_EQ(kept.positions.size(), keys.size());
  EXPECT_EQ(pull(kept), std::vector<float>(keys.size(), 3));
}

/// Adagrad is not linear: a row that is named twice has to get the sum, once.
TEST_F(KeyListsTest, ARowThatIsNamedTwiceIsKnownToBe) {
  auto spec = sparse_spec();
  spec.update = Adagrad{};
  const auto adagrad = fixture.rules(spec, 1);
  const auto make = [&] {
    return SlotState::create(adagrad, SlotIndex(0), {}, fixture.context()).value();
  };
  const std::vector<float> values(100, 1);
  for (const bool twice : {false, true}) {
    auto keys = list(1);
    if (twice) keys[70] = keys[20];
    const auto signature = signature_of(keys);
    PartRows by_key;
    by_key.listed = true;
    by_key.keys = keys;
    const auto one = make(), other = make();
    KeyLists lists(1u << 20);
    lists.put(*one, signature, keys);
    EXPECT_FALSE(lists.find(*one, signature, keys.size()).distinct) << "there are no rows yet";
    ASSERT_EQ(one->apply(0, {}, {}, by_key, bytes_of(values)), Outcome::applied);
    const auto kept = lists.find(*one, signature, keys.size());
    EXPECT_EQ(kept.distinct, !twice);

    PartRows by_list;
    by_list.listed = true;
    by_list.positions = kept.positions;
    by_list.distinct = kept.distinct;
    ASSERT_EQ(one->apply(0, {}, {}, by_list, bytes_of(values)), Outcome::applied);
    for (int i = 0; i < 2; ++i)
      ASSERT_EQ(other->apply(0, {}, {}, by_key, bytes_of(values)), Outcome::applied);
    std::vector<float> got(100), expected(100);
    EXPECT_EQ(one->gather(by_key, bytes_of(got)), Outcome::applied);
    EXPECT_EQ(other->gather(by_key, bytes_of(expected)), Outcome::applied);
    EXPECT_EQ(got, expected) << (twice ? "a row twice" : "each row once");
  }
}

TEST_F(KeyListsTest, KeysWithoutRowsAreLookedUpAgainOnceTheSlotHasGrown) {
  KeyLists lists(1u << 20);
  const auto keys = list(1);
  lists.put(*slot, signature_of(keys), keys);
  auto kept = lists.find(*slot, signature_of(keys), keys.size());
  ASSERT_EQ(kept.keys.size(), keys.size());
  EXPECT_EQ(pull(kept), std::vector<float>(keys.size(), 0));
  push(list(2));
  EXPECT_EQ(lists.find(*slot, signature_of(keys), keys.size()).keys.size(), keys.size());
  push(keys, 2);
  kept = lists.find(*slot, signature_of(keys), keys.size());
  ASSERT_EQ(kept.positions.size(), keys.size());
  EXPECT_EQ(pull(kept), std::vector<float>(keys.size(), 2));
  EXPECT_EQ(lists.bytes(), KeyLists::kListBytes + keys.size() * 4);
}

TEST_F(KeyListsTest, TheWorkersWordIsNotTakenForTheSignature) {
  KeyLists lists(1u << 20);
  const auto keys = list(1);
  const auto others = list(2);
  push(keys);
  push(others);
  lists.put(*slot, signature_of(others), keys);
  EXPECT_EQ(lists.size(), 0u);
  lists.put(*slot, signature_of(keys), keys);
  EXPECT_FALSE(lists.find(*slot, signature_of(keys), keys.size() - 1).known());
  EXPECT_FALSE(lists.find(*slot, signature_of(others), keys.size()).known());
}

TEST_F(KeyListsTest, ASlotThatGoesTakesItsListsAlong) {
  KeyLists lists(1u << 20);
  auto other = SlotState::create(rules, SlotIndex(0), {}, fixture.context()).value();
  const auto keys = list(1);
  lists.put(*slot, signature_of(keys), keys);
  lists.put(*other, signature_of(keys), keys);
  EXPECT_EQ(lists.size(), 2u);
  lists.forget(*slot);
  EXPECT_EQ(lists.size(), 1u);
  EXPECT_FALSE(lists.find(*slot, signature_of(keys), keys.size()).known());
  EXPECT_TRUE(lists.find(*other, signature_of(keys), keys.size()).known());
}

TEST_F(KeyListsTest, TheListThatWasUsedLeastRecentlyGoesFirst) {
  constexpr auto kRoom = 2 * KeyLists::kListBytes + 1000;  // two lists of 100 positions, not three
  KeyLists lists(kRoom);
  std::vector<std::vector<Key>> all;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    all.push_back(list(seed));
    push(all.back());
  }
  const auto known = [&](std::size_t i) {
    return lists.find(*slot, signature_of(all[i]), all[i].size()).known();
  };
  lists.put(*slot, signature_of(all[0]), all[0]);
  lists.put(*slot, signature_of(all[1]), all[1]);
  EXPECT_TRUE(known(0));
  lists.put(*slot, signature_of(all[2]), all[2]);
  EXPECT_LE(lists.bytes(), kRoom);
  EXPECT_FALSE(known(1));
  EXPECT_TRUE(known(0));
  EXPECT_TRUE(known(2));
  lists.put(*slot, signature_of(list(9, 200)), list(9, 200));
  EXPECT_TRUE(known(0)) << "a list that is larger than all room is not kept";
}

/// Lists of few keys, as a worker with many slots or a strange one sends them, cost more than keys.
TEST_F(KeyListsTest, ManyShortListsAreBoundedToo) {
  constexpr std::size_t kFit = 10;
  KeyLists lists(kFit * (KeyLists::kListBytes + sizeof(Key)));
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    const auto one = list(seed, 1);
    lists.put(*slot, signature_of(one), one);
  }
  EXPECT_EQ(lists.size(), kFit);
  lists.forget(*slot);
  EXPECT_EQ(lists.bytes(), 0u);
}

}  // namespace
}  // namespace shoal
