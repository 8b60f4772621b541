#include "server/store/dense_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/base/random.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

using test::bytes_of;
using test::StoreFixture;

TableSpec spec_of(std::uint64_t rows, std::uint32_t width, const UpdateSpec& update, Apply apply,
                  std::int64_t staleness = 0) {
  TableSpec spec;
  spec.name = "t";
  spec.rows = rows;
  spec.row_width = width;
  spec.update = update;
  spec.apply = apply;
  spec.staleness = staleness;
  spec.segment_bytes = 256;
  return spec;
}

std::vector<float> read(DenseStore& store, const TableRules& rules) {
  std::vector<Key> keys;
  for (auto row = store.rows().begin; row < store.rows().end; ++row) keys.push_back(row);
  std::vector<float> values(keys.size() * rules.spec().row_width);
  EXPECT_EQ(store.gather(keys, bytes_of(values)), Outcome::applied);
  return values;
}

TEST(DenseStore, RangesAndKeyListsAddUpLikeAnArray) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    StoreFixture f;
    const auto width = static_cast<std::uint32_t>(1 + random.below(5));
    auto spec = spec_of(500 + random.below(500), width, Add{}, Apply::on_arrival);
    spec.initializer = {Initializer::Kind::constant, 3.0, 0, 0};
    const auto rules = f.rules(spec, 3);
    auto store = DenseStore::create(rules, SlotIndex(1), f.context()).value();
    const auto begin = store->rows().begin;
    std::vector<float> model(store->rows().size() * width, 3.0f);
    for (int step = 0; step < 100; ++step) {
      const bool set = random.chance(0.1);
      if (random.chance(0.5)) {
        const auto segment = random.below(store->segment_count());
        auto rows = store->rows_of(segment);
        rows.begin += random.below(rows.size());
        rows.end = rows.begin + 1 + random.below(rows.end - rows.begin);
        std::vector<float> values(rows.size() * width);
        for (auto& v : values) v = static_cast<float>(random.below(100));
        ASSERT_EQ(set ? store->set(rows, bytes_of(values)) : store->apply(rows, bytes_of(values)),
                  Outcome::applied);
        for (std::size_t i = 0; i < values.size(); ++i) {
          auto& m = model[(rows.begin - begin) * width + i];
          m = set ? values[i] : m + values[i];
        }
      } else {
        std::vector<Key> keys(1 + random.below(80));
        for (auto& key : keys) key = begin + random.below(store->rows().size());
        std::vector<float> values(keys.size() * width);
        for (auto& v : values) v = static_cast<float>(random.below(100));
        ASSERT_EQ(set ? store->set(keys, bytes_of(values)) : store->apply(keys, bytes_of(values)),
                  Outcome::applied);
        for (std::size_t i = 0; i < values.size(); ++i) {
          auto& m = model[(keys[i / width] - begin) * width + i % width];
          m = set ? values[i] : m + values[i];
        }
      }
    }
    ASSERT_EQ(read(*store, rules), model);
  }
}

/// In bf16 a sum of ones would stay at 256.
TEST(DenseStore, ClocksOf16BitFloatsAreSummedInF32) {
  StoreFixture f;
  f.set_roster({100});
  auto spec = spec_of(200, 3, Add{}, Apply::per_clock);
  spec.dtype = DType::bf16;
  const auto rules = f.rules(spec, 1);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<BFloat16> ones(200 * 3, BFloat16(1));
  const auto push = [&](auto rows) {
    return store->contribute(f.member(100), WorkerClock(0), rows, bytes_of(ones));
  };
  const std::vector<Key> keys{1, 199, 1};
  for (int i = 0; i < 1000; ++i) {
    for (std::size_t s = 0; s < store->segment_count(); ++s)
      ASSERT_EQ(push(store->rows_of(s)), Outcome::applied);
    ASSERT_EQ(push(std::span<const Key>(keys)), Outcome::applied);
  }
  for (std::size_t s = 0; s < store->segment_count(); ++s)
    ASSERT_EQ(store->fold(s, WorkerClock(1)), Outcome::applied);
  std::vector<BFloat16> values(3 * 3);
  ASSERT_EQ(store->gather(std::vector<Key>{0, 1, 199}, bytes_of(values)), Outcome::applied);
  for (std::size_t i = 0; i < 9; ++i)
    EXPECT_EQ(static_cast<float>(values[i]), i < 3   ? 1000
                                             : i < 6 ? 3008
                                                     : 2000)
        << "3000 lies between two numbers of bf16, 2992 and 3008";
}

TEST(DenseStore, KeysOfOtherSlotsChangeNothing) {
  StoreFixture f;
  const auto rules = f.rules(spec_of(300, 1, Add{}, Apply::on_arrival), 2);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<Key> keys = {0, store->rows().end};
  const std::vector<float> values = {1, 1};
  EXPECT_EQ(store->apply(keys, bytes_of(values)), Outcome::out_of_range);
  EXPECT_EQ(read(*store, rules), std::vector<float>(store->rows().size()));
}

TEST(DenseStore, RepeatedRowsOfARuleThatIsNotLinearAreMergedFirst) {
  StoreFixture f;
  const auto rules = f.rules(spec_of(64, 1, Adagrad{.learning_rate = 1}, Apply::on_arrival), 1);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<Key> keys = {5, 5};
  const std::vector<float> values = {3, 1};
  ASSERT_EQ(store->apply(keys, bytes_of(values)), Outcome::applied);
  EXPECT_FLOAT_EQ(read(*store, rules)[5], -1.0f) << "g = 4: one step of 4 / sqrt(16)";
}

/// Pulls never see half of a push: what a pin sees stays, byte for byte, whatever is pushed.
TEST(DenseStore, SnapshotsStayAsTheyWerePinned) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    StoreFixture f(3);
    const auto rules = f.rules(spec_of(256, 1, Add{}, Apply::on_arrival), 1);
    auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
    struct Pin {
      Snapshot snapshot;
      std::vector<std::byte> expected;
    };
    std::vector<Pin> pins;
    int refused = 0;
    auto context = f.context();
    for (int step = 0; step < 500; ++step) {
      const auto segment = random.below(store->segment_count());
      if (random.chance(0.3) && pins.size() < 10) {
        Pin pin{store->pin(segment), {}};
        pin.expected.assign(pin.snapshot.memory->data,
                            pin.snapshot.memory->data + pin.snapshot.bytes);
        pins.push_back(std::move(pin));
      } else if (random.chance(0.4) && !pins.empty()) {
        const auto i = random.below(pins.size());
        unpin(context, *pins[i].snapshot.memory);
        pins.erase(pins.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        const auto before = read(*store, rules);
        const auto rows = store->rows_of(segment);
        const std::vector<float> values(rows.size(), 1.0f);
        const auto outcome = store->apply(rows, bytes_of(values));
        auto expected = before;
        if (outcome == Outcome::applied)
          for (auto row = rows.begin; row < rows.end; ++row) expected[row] += 1;
        else
          ++refused;
        ASSERT_TRUE(outcome == Outcome::applied || outcome == Outcome::no_copy);
        ASSERT_EQ(read(*store, rules), expected);
      }
      for (const auto& pin : pins)
        ASSERT_EQ(std::memcmp(pin.snapshot.memory->data, pin.expected.data(), pin.snapshot.bytes),
                  0);
      ASSERT_LE(f.copies.used(), 3u);
      for (const auto& entry : store->directory().entries()) ASSERT_EQ(entry.version % 2, 0u);
    }
    EXPECT_GT(f.metrics.copies_on_write, 0u);
    EXPECT_GT(refused, 0) << "the quota was never reached: the test shows nothing";
    for (const auto& pin : pins) unpin(context, *pin.snapshot.memory);
    EXPECT_EQ(f.copies.used(), 0u);
  }
}

/// A table is dropped while rows of it are on their way.
TEST(DenseStore, MemoryThatOutlivesItsStoreCountsAsACopy) {
  StoreFixture f(1);
  auto context = f.context();
  const auto rules = f.rules(spec_of(64, 1, Add{}, Apply::on_arrival), 1);
  auto store = DenseStore::create(rules, SlotIndex(0), context).value();
  const auto snapshot = store->pin(0);
  store.reset();
  EXPECT_EQ(f.copies.used(), 1u);
  EXPECT_TRUE(unpin(context, *snapshot.memory));
  EXPECT_EQ(f.copies.used(), 0u);
  EXPECT_TRUE(f.copies.available());
}

TEST(DenseStore, WhatDoesNotFitTheBudgetIsRefusedAsAWhole) {
  StoreFixture f(0, 100000);
  const auto rules = f.rules(spec_of(20000, 1, Momentum{}, Apply::per_clock), 1);
  const auto made = DenseStore::create(rules, SlotIndex(0), f.context());
  EXPECT_EQ(made.code(), Errc::no_memory) << "values fit, states and two open sums do not";
  EXPECT_EQ(f.budget.used(), 0u);
}

TEST(DenseStore, MoreSumsThanASlotCanHaveAreRefused) {
  StoreFixture f(4, ~std::uint64_t{0});
  TableSpec spec;
  spec.name = "t";
  spec.rows = 1u << 13;
  spec.segment_bytes = 4;
  spec.update = Add{};
  spec.apply = Apply::per_clock;
  spec.staleness = kStalenessMax;
  const auto rules = f.rules(spec, 1);
  const auto made = DenseStore::create(rules, SlotIndex(0), f.context());
  ASSERT_EQ(made.code(), Errc::unavailable);
  EXPECT_NE(made.error().what.find("more slots"), std::string::npos) << made.error().what;
  EXPECT_EQ(f.budget.used(), 0u);
}

/// Version v holds exactly the clocks below v, with the rule run once a clock on the sums.
TEST(DenseStore, PerClockRoundsAgreeWithAModel) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    StoreFixture f;
    const std::int64_t staleness = static_cast<std::int64_t>(random.below(3));
    auto rules = f.rules(spec_of(200, 1, Momentum{.learning_rate = 0.5, .momentum = 0.5},
                                 Apply::per_clock, staleness),
                         1, {{"learning_rate", 0.25, WorkerClock(7)}});
    auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
    const auto window = rules.window();
    std::vector<double> weights(200), velocity(200);
    std::vector<std::vector<double>> sums(64, std::vector<double>(200));
    std::int64_t g = 0, folded = 0;
    const auto fold_model = [&](std::int64_t to) {
      for (; folded < to; ++folded)
        for (std::size_t i = 0; i < 200; ++i) {
          velocity[i] = 0.5 * velocity[i] + sums[static_cast<std::size_t>(folded)][i];
          weights[i] -= (folded >= 7 ? 0.25 : 0.5) * velocity[i];
        }
    };
    for (int step = 0; step < 300 && g < 50; ++step) {
      if (random.chance(0.15)) g += 1 + static_cast<std::int64_t>(random.below(3));
      const auto segment = random.below(store->segment_count());
      const WorkerClock clock(
          g + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(window))));
      auto rows = store->rows_of(segment);
      if (random.chance(0.5)) {
        rows.begin += random.below(rows.size());
        rows.end = rows.begin + 1 + random.below(rows.end - rows.begin);
      }
      const std::vector<float> values(rows.size(), 1.0f);
      ASSERT_EQ(store->fold(segment, WorkerClock(g)), Outcome::applied);
      ASSERT_EQ(store->admits(0, clock, WorkerClock(g), rows), Outcome::applied);
      ASSERT_EQ(store->admits(0, WorkerClock(g + window), WorkerClock(g), rows),
                Outcome::too_early);
      ASSERT_EQ(store->contribute(0, clock, rows, bytes_of(values)), Outcome::applied);
      for (auto row = rows.begin; row < rows.end; ++row)
        sums[static_cast<std::size_t>(clock.value)][row] += 1;
    }
    for (std::size_t s = 0; s < store->segment_count(); ++s) {
      ASSERT_EQ(store->fold(s, WorkerClock(g)), Outcome::applied);
      ASSERT_EQ(store->version(s), WorkerClock(g));
    }
    fold_model(g);
    const auto values = read(*store, rules);
    for (std::size_t i = 0; i < 200; ++i)
      ASSERT_NEAR(values[i], weights[i], 1e-3 * (1 + std::abs(weights[i])));
  }
}

TEST(DenseStore, ACollectiveSegmentFoldsWhenAllHaveContributed) {
  StoreFixture f;
  f.set_roster({100, 101, 102});
  const auto rules = f.rules(spec_of(128, 1, Add{}, Apply::collective), 1);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<float> ones(128, 1.0f);
  const RowRange first = store->rows_of(0);
  const auto push = [&](std::uint32_t node, std::int64_t clock, RowRange rows, bool empty = false) {
    return store->contribute(f.member(node), WorkerClock(clock), rows,
                             empty ? nullptr : bytes_of(ones));
  };
  EXPECT_EQ(push(100, 0, first), Outcome::applied);
  EXPECT_EQ(push(100, 1, first), Outcome::applied);
  EXPECT_EQ(push(101, 0, {0, 10}), Outcome::applied);
  EXPECT_EQ(push(102, 0, first, true), Outcome::applied) << "an empty part counts";
  EXPECT_EQ(store->version(0), WorkerClock(0));
  EXPECT_EQ(push(101, 0, {10, first.end}), Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(1)) << "all rows of all workers are there";
  EXPECT_EQ(store->version(1), WorkerClock(0)) << "each segment for itself";
  EXPECT_EQ(read(*store, rules)[3], 2.0f);
  // 101 leaves: what it owed holds nobody back, what it gave stays.
  EXPECT_EQ(push(102, 1, first), Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(1));
  f.set_roster({100, 102});
  ASSERT_EQ(f.members_gone.size(), 1u);
  store->forget(f.members_gone[0]);
  EXPECT_EQ(store->fold_ready(0), Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(2));
  EXPECT_EQ(read(*store, rules)[3], 4.0f);
  // Nobody is left: nothing folds.
  f.set_roster({});
  for (const auto m : f.members_gone) store->forget(m);
  EXPECT_EQ(store->fold_ready(0), Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(2));
}

/// With `deterministic` the bits do not depend on the order of arrival.
TEST(DenseStore, DeterministicSumsRepeatBitForBit) {
  std::vector<float> first_result;
  bool order_matters = false;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Random random(seed);
    StoreFixture f;
    f.set_roster({100, 101, 102, 103});
    auto spec = spec_of(64, 1, Add{}, Apply::collective);
    spec.deterministic = true;
    const auto rules = f.rules(spec, 1);
    auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
    std::vector<std::uint32_t> order = {100, 101, 102, 103};
    std::vector<std::vector<float>> pushed(4, std::vector<float>(64));
    Random values(7);
    for (auto& push : pushed)
      for (auto& v : push) v = static_cast<float>(values.uniform() * 1e6 - 5e5);
    for (std::size_t i = 3; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
    std::vector<float> by_arrival(64);
    for (const auto node : order)
      for (std::size_t i = 0; i < 64; ++i) by_arrival[i] += pushed[node - 100][i];
    while (!order.empty()) {  // Whose turn it is goes, in whatever order they knock.
      for (std::size_t i = 0; i < order.size(); ++i) {
        const auto node = order[i];
        const auto outcome =
            store->admits(f.member(node), WorkerClock(0), WorkerClock(0), RowRange{0, 64});
        if (outcome == Outcome::not_its_turn) continue;
        ASSERT_EQ(outcome, Outcome::applied);
        ASSERT_EQ(store->contribute(f.member(node), WorkerClock(0), RowRange{0, 64},
                                    bytes_of(pushed[node - 100])),
                  Outcome::applied);
        order.erase(order.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      }
    }
    ASSERT_EQ(store->version(0), WorkerClock(1));
    const auto result = read(*store, rules);
    if (first_result.empty()) first_result = result;
    ASSERT_EQ(std::memcmp(result.data(), first_result.data(), 64 * sizeof(float)), 0);
    order_matters |= std::memcmp(by_arrival.data(), first_result.data(), 64 * sizeof(float)) != 0;
  }
  EXPECT_TRUE(order_matters) << "any order gave these bits: the test shows nothing";
}

TEST(DenseStore, AFoldThatFindsNoCopyWaitsForOne) {
  StoreFixture f(0);
  f.set_roster({100});
  const auto rules = f.rules(spec_of(64, 1, Add{}, Apply::collective), 1);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const auto snapshot = store->pin(0);
  const std::vector<float> ones(64, 1.0f);
  EXPECT_EQ(store->contribute(f.member(100), WorkerClock(0), RowRange{0, 64}, bytes_of(ones)),
            Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(0));
  EXPECT_TRUE(store->has_folds_waiting());
  auto context = f.context();
  unpin(context, *snapshot.memory);
  EXPECT_EQ(store->fold_ready(0), Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(1));
  EXPECT_FALSE(store->has_folds_waiting());
}

/// All leave in the middle of a round, and who joins later starts far beyond it.
TEST(DenseStore, RoundsThatNobodyIsLeftToJoinAreFolded) {
  StoreFixture f;
  f.set_roster({100, 101});
  const auto rules = f.rules(spec_of(64, 1, Add{}, Apply::collective), 1);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<float> ones(64, 1.0f);
  EXPECT_EQ(store->contribute(f.member(100), WorkerClock(0), RowRange{0, 64}, bytes_of(ones)),
            Outcome::applied);
  f.set_roster({});
  EXPECT_EQ(store->fold_ready(0), Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(0)) << "an empty roster folds nothing";
  f.set_roster({102}, 10);
  EXPECT_EQ(store->fold_ready(0), Outcome::applied);
  EXPECT_EQ(store->version(0), WorkerClock(10));
  EXPECT_EQ(read(*store, rules).front(), 1.0f) << "what had come to the round";
}

}  // namespace
}  // namespace shoal
