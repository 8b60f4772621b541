#include "server/store/sparse_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/base/random.h"
#include "core/ops/initializer.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

using test::bytes_of;
using test::StoreFixture;

TableSpec spec_of(std::uint32_t width, const UpdateSpec& update, Apply apply,
                  std::int64_t staleness = 0) {
  TableSpec spec;
  spec.name = "t";
  spec.layout = Layout::sparse;
  spec.row_width = width;
  spec.update = update;
  spec.apply = apply;
  spec.staleness = staleness;
  return spec;
}

Key key_of_slot(const TableRules& rules, SlotIndex slot, Random& random, std::uint64_t range) {
  for (;;) {
    const Key key =
        random.chance(0.02) ? ~std::uint64_t{0} - random.below(200) : random.below(range);
    if (rules.geometry().slot_of_key(key) == slot) return key;
  }
}

TEST(SparseStore, AgreesWithAMapOfRows) {
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    StoreFixture f;
    const auto width = static_cast<std::uint32_t>(1 + random.below(3));
    auto spec = spec_of(width, Add{}, Apply::on_arrival);
    if (seed % 2 == 0) spec.initializer = {Initializer::Kind::uniform, -1, 1, seed};
    const auto rules = f.rules(spec, 4);
    const auto made = SparseStore::create(rules, SlotIndex(2), f.context()).value();
    auto& store = *made;
    const auto initial = [&](Key key) {
      std::vector<float> row(width);
      write_initial_row(spec.initializer, DType::f32, key, width, bytes_of(row));
      return row;
    };
    std::map<Key, std::vector<float>> model;
    const auto range = std::uint64_t{1} << (8 + random.below(12));
    for (int step = 0; step < 120; ++step) {
      std::vector<Key> keys(1 + random.below(600));
      for (auto& key : keys) key = key_of_slot(rules, SlotIndex(2), random, range);
      std::vector<float> values(keys.size() * width);
      if (random.chance(0.3)) {
        ASSERT_EQ(store.gather(keys, bytes_of(values)), Outcome::applied);
        for (std::size_t i = 0; i < keys.size(); ++i) {
          const auto at = model.find(keys[i]);
          const auto expected = at == model.end() ? initial(keys[i]) : at->second;
          for (std::size_t j = 0; j < width; ++j) ASSERT_EQ(values[i * width + j], expected[j]);
        }
        ASSERT_EQ(store.row_count(), model.size()) << "a pull creates no row";
        continue;
      }
      const bool set = random.chance(0.2);
      for (auto& v : values) v = static_cast<float>(random.below(64));
      ASSERT_EQ(set ? store.set(keys, bytes_of(values)) : store.apply(keys, bytes_of(values)),
                Outcome::applied);
      for (std::size_t i = 0; i < keys.size(); ++i) {
        auto& row = model.try_emplace(keys[i], initial(keys[i])).first->second;
        for (std::size_t j = 0; j < width; ++j)
          row[j] = set ? values[i * width + j] : row[j] + values[i * width + j];
      }
    }
  }
}

/// In f16 a sum of ones would stay at 2048, and Adagrad's state be infinite.
TEST(SparseStore, ClocksAndStatesOf16BitFloatsAreF32) {
  StoreFixture f;
  auto spec = spec_of(2, Adagrad{.learning_rate = 1}, Apply::per_clock);
  spec.dtype = DType::f16;
  const auto rules = f.rules(spec, 1);
  const auto store = SparseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<Key> keys{7, 9, 7};
  const std::vector<Float16> ones(6, Float16(1));
  for (int i = 0; i < 3000; ++i)
    ASSERT_EQ(store->contribute(WorkerClock(0), keys, bytes_of(ones)), Outcome::applied);
  store->fold(WorkerClock(1));
  const std::vector<Key> seven{7};
  const std::vector<Float16> next(2, Float16(4500));  // 3/4 of the sum before
  ASSERT_EQ(store->contribute(WorkerClock(1), seven, bytes_of(next)), Outcome::applied);
  store->fold(WorkerClock(2));
  std::vector<Float16> values(4);
  ASSERT_EQ(store->gather(std::vector<Key>{7, 9}, bytes_of(values)), Outcome::applied);
  EXPECT_EQ(values[0], Float16(-1.6f)) << "1 + 3/5: g / sqrt(s), s = 6000^2 and then 7500^2";
  EXPECT_EQ(values[3], Float16(-1.0f));
}

/// Repeated rows of one push are merged in f32, and the rule sees them so.
TEST(SparseStore, RepeatedRowsOf16BitFloatsAreMergedInF32) {
  StoreFixture f;
  auto spec = spec_of(1, Adagrad{.learning_rate = 1}, Apply::on_arrival);
  spec.dtype = DType::bf16;
  const auto rules = f.rules(spec, 1);
  const auto store = SparseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<Key> keys(1000, 5);
  const std::vector<BFloat16> ones(1000, BFloat16(1));
  ASSERT_EQ(store->apply(keys, bytes_of(ones)), Outcome::applied);
  const std::vector<BFloat16> next(1, BFloat16(752));
  ASSERT_EQ(store->apply(std::span(keys).first(1), bytes_of(next)), Outcome::applied);
  std::vector<BFloat16> value(1);
  ASSERT_EQ(store->gather(std::span(keys).first(1), bytes_of(value)), Outcome::applied);
  EXPECT_EQ(value[0], BFloat16(-1.601f)) << "1 + 752 / sqrt(1000^2 + 752^2)";
}

TEST(SparseStore, KeysOfOtherSlotsAndABudgetThatIsFullChangeNothing) {
  StoreFixture f(0, 400u << 10);
  const auto rules = f.rules(spec_of(1, Adam{}, Apply::on_arrival), 2);
  const auto made = SparseStore::create(rules, SlotIndex(0), f.context()).value();
  auto& store = *made;
  Random random(1);
  const Key mine = key_of_slot(rules, SlotIndex(0), random, 1000);
  const Key other = key_of_slot(rules, SlotIndex(1), random, 1000);
  std::vector<float> values(20000, 1.0f);
  EXPECT_EQ(store.apply(std::vector<Key>{mine, other}, bytes_of(values)), Outcome::out_of_range);
  EXPECT_EQ(store.gather(std::vector<Key>{other}, bytes_of(values)), Outcome::out_of_range);
  EXPECT_EQ(store.row_count(), 0u);
  std::vector<Key> keys;
  for (Key key = 0; keys.size() < 20000; ++key)
    if (rules.geometry().slot_of_key(key) == SlotIndex(0)) keys.push_back(key);
  EXPECT_EQ(store.apply(std::vector<Key>{keys[0]}, bytes_of(values)), Outcome::applied);
  EXPECT_EQ(store.apply(keys, bytes_of(values)), Outcome::no_memory);
  EXPECT_EQ(store.row_count(), 1u);
  EXPECT_EQ(store.apply(std::vector<Key>{keys[0]}, bytes_of(values)), Outcome::applied);
}

TEST(SparseStore, TheClocksOfAWideWindowAreOfTheBudget) {
  StoreFixture f(0, 1u << 20);
  const auto narrow = f.rules(spec_of(1, Add{}, Apply::per_clock, 100), 2);
  auto store = SparseStore::create(narrow, SlotIndex(0), f.context()).value();
  EXPECT_GE(f.budget.used(), 102 * sizeof(void*));
  EXPECT_EQ(f.budget.used(), store->memory_bytes());
  const auto wide = f.rules(spec_of(1, Add{}, Apply::per_clock, kStalenessMax), 2);
  const auto refused = SparseStore::create(wide, SlotIndex(0), f.context());
  ASSERT_EQ(refused.code(), Errc::no_memory);
  EXPECT_NE(refused.error().what.find("open clocks"), std::string::npos) << refused.error().what;

  // What finds the sums of a page is taken with the first push of each clock.
  const std::vector<float> value = {1};
  Random random(1);
  const std::vector<Key> keys = {key_of_slot(narrow, SlotIndex(0), random, 1000)};
  ASSERT_EQ(store->contribute(WorkerClock(0), keys, bytes_of(value)), Outcome::applied);
  const auto before = f.budget.used();
  ASSERT_EQ(store->contribute(WorkerClock(1), keys, bytes_of(value)), Outcome::applied);
  EXPECT_GT(f.budget.used(), before);
  EXPECT_EQ(f.budget.used(), store->memory_bytes());
  store.reset();
  EXPECT_EQ(f.budget.used(), 0u);
}

/// Sums by clock, with a rule that decays: a row makes up for the rounds it missed, whether it is
/// pushed or pulled next.
TEST(SparseStore, PerClockRoundsWithDecayAgreeWithAModel) {
  for (std::uint64_t seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    StoreFixture f;
    const auto rules =
        f.rules(spec_of(1, Momentum{.learning_rate = 0.5, .momentum = 0.5}, Apply::per_clock, 1), 2,
                {{"learning_rate", 0.125, WorkerClock(5)}});
    const auto made = SparseStore::create(rules, SlotIndex(1), f.context()).value();
    auto& store = *made;
    struct Row {
      double weight = 0, velocity = 0;
      std::map<std::int64_t, double> sums;
    };
    std::map<Key, Row> model;
    std::int64_t g = 0;
    for (int step = 0; step < 150; ++step) {
      if (random.chance(0.2)) {
        const auto next = g + 1 + static_cast<std::int64_t>(random.below(4));
        for (; g < next; ++g)
          for (auto& [key, row] : model) {
            row.velocity = 0.5 * row.velocity + row.sums[g];
            row.weight -= (g >= 5 ? 0.125 : 0.5) * row.velocity;
          }
        store.fold(WorkerClock(g));
        ASSERT_EQ(store.version(), WorkerClock(g));
      }
      std::vector<Key> keys(1 + random.below(40));
      for (auto& key : keys) key = key_of_slot(rules, SlotIndex(1), random, 200);
      std::vector<float> values(keys.size(), 1.0f);
      if (random.chance(0.4)) {
        ASSERT_EQ(store.gather(keys, bytes_of(values)), Outcome::applied);
        for (std::size_t i = 0; i < keys.size(); ++i)
          ASSERT_NEAR(values[i], model[keys[i]].weight, 1e-3);
        continue;
      }
      const auto clock = g + static_cast<std::int64_t>(random.below(3));
      ASSERT_EQ(store.contribute(WorkerClock(clock), keys, bytes_of(values)), Outcome::applied);
      for (const auto key : keys) model[key].sums[clock] += 1;
    }
  }
}

}  // namespace
}  // namespace shoal
