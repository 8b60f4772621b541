// Stores whose rows are on a device like a GPU: what is issued runs late, and in the end they hold
// what those of the host do.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/random.h"
#include "server/store/dense_store.h"
#include "tests/server/late_fixture.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

using test::LateFixture;
using test::StoreFixture;

/// The same on both; the late one's inputs are gone, which a kernel would see, as soon as they may
/// be.
template <class T>
class Twins {
 public:
  Twins(const TableSpec& spec, Random& random)
      : random_(random),
        rules_(host_.rules(spec, 2)),
        late_rules_(late_.rules(spec, 2)),
        store_(DenseStore::create(rules_, SlotIndex(1), host_.context()).value()),
        late_store_(DenseStore::create(late_rules_, SlotIndex(1), late_.context()).value()) {
    for (auto* members : {&host_.members, &late_.members}) {
      ClusterView view;
      view.roster.push_back({NodeId(100), Rank(0), WorkerClock(0), 0});
      members->update(view);
    }
  }

  DenseStore& store() { return *store_; }
  std::vector<T> values(std::size_t rows) {
    std::vector<T> values(rows * rules_.row_values());
    for (auto& v : values) v = static_cast<T>(static_cast<float>(random_.below(200)) / 16 - 5);
    return values;
  }

  /// Calls f(store, inputs) for both, the late one until it has room.
  template <class F>
  void push(const std::vector<T>& values, const F& f) {
    ASSERT_EQ(f(*store_, test::bytes_of(values)), Outcome::applied);
    auto* inputs = new std::byte[values.size() * sizeof(T) + 1];
    std::memcpy(inputs, values.data(), values.size() * sizeof(T));
    for (;;) {
      const auto outcome = f(*late_store_, static_cast<const std::byte*>(inputs));
      if (outcome == Outcome::applied) break;
      ASSERT_EQ(outcome, Outcome::no_room);
      ASSERT_GT(late_.device.waiting(), 0u);
      late_.device.run(1);
    }
    late_.device.issue([inputs] { delete[] inputs; });
    if (random_.chance(0.2)) late_.device.run(random_.below(20));
  }

  void expect_same() {
    std::vector<Key> keys;
    for (auto row = store_->rows().begin; row < store_->rows().end; ++row) keys.push_back(row);
    const auto bytes = keys.size() * rules_.geometry().row_bytes();
    std::vector<std::byte> expected(bytes), there(bytes);
    ASSERT_EQ(store_->gather(keys, expected.data()), Outcome::applied);
    late_.device.run_all();
    ASSERT_EQ(late_store_->gather(keys, there.data()), Outcome::applied);
    late_.device.run_all();
    ASSERT_EQ(expected, there);
  }

  /// Both fold up to a clock.
  void fold(WorkerClock clock) {
    for (std::size_t s = 0; s < store_->segment_count(); ++s) {
      ASSERT_EQ(store_->fold(s, clock), Outcome::applied);
      ASSERT_EQ(late_store_->fold(s, clock), Outcome::applied);
    }
  }
  /// Where repeated rows are applied one after another on the host, a device applies their sum,
  /// which may differ in its last bits: of such rules each row once.
  std::vector<Key> keys() {
    std::vector<Key> keys(1 + random_.below(60));
    for (auto& key : keys)
      key = store_->rows().begin + random_.below(store_->rows().size()) / 3 * 2;
    if (rules_.rule().traits().repeats_compose && !rules_.sums()) {
      std::sort(keys.begin(), keys.end());
      keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    }
    return keys;
  }
  RowRange rows() {
    const auto all = store_->rows_of(random_.below(store_->segment_count()));
    const auto begin = all.begin + random_.below(all.size());
    return random_.chance(0.3) ? all : RowRange{begin, begin + 1 + random_.below(all.end - begin)};
  }

 private:
  Random& random_;
  StoreFixture host_;
  LateFixture late_;
  TableRules rules_, late_rules_;
  std::unique_ptr<DenseStore> store_, late_store_;
};

TableSpec spec_of(Random& random, DType dtype, const UpdateSpec& update, Apply apply) {
  TableSpec spec;
  spec.name = "t";
  spec.dtype = dtype;
  spec.rows = 300 + random.below(700);
  spec.row_width = static_cast<std::uint32_t>(1 + random.below(6));
  spec.update = update;
  spec.apply = apply;
  spec.staleness = apply == Apply::on_arrival ? unbounded : 2;
  spec.segment_bytes = 256;
  spec.initializer = {Initializer::Kind::normal, 0, 1, 5};
  return spec;
}

const UpdateSpec kUpdates[] = {update_spec(Add{}),
                               update_spec(Sgd{}),
                               update_spec(Adagrad{}),
                               update_spec(Adam{}),
                               update_spec(Proximal{.l1 = 0.01}),
                               update_spec(Assign{})};

template <class T>
void check_arrivals(const UpdateSpec& update, std::uint64_t seed) {
  Random random(seed);
  Twins<T> twins(spec_of(random, dtype_of<T>(), update, Apply::on_arrival), random);
  for (int step = 0; step < 120; ++step) {
    const bool set = random.chance(0.1);
    if (random.chance(0.5)) {
      const auto rows = twins.rows();
      ASSERT_NO_FATAL_FAILURE(
          twins.push(twins.values(rows.size()), [&](DenseStore& store, const std::byte* values) {
            return set ? store.set(rows, values) : store.apply(rows, values);
          }));
    } else {
      const auto keys = twins.keys();
      ASSERT_NO_FATAL_FAILURE(
          twins.push(twins.values(keys.size()), [&](DenseStore& store, const std::byte* values) {
            return set ? store.set(keys, values) : store.apply(keys, values);
          }));
    }
    if (random.chance(0.03)) {
      ASSERT_NO_FATAL_FAILURE(twins.expect_same());
    }
  }
  twins.expect_same();
}

template <class T>
void check_clocks(const UpdateSpec& update, std::uint64_t seed) {
  Random random(seed);
  Twins<T> twins(spec_of(random, dtype_of<T>(), update, Apply::per_clock), random);
  for (std::int64_t clock = 0; clock < 12; ++clock) {
    for (auto pushes = random.below(8); pushes > 0; --pushes) {
      const WorkerClock at(clock + static_cast<std::int64_t>(random.below(2)));
      if (random.chance(0.5)) {
        const auto rows = twins.rows();
        ASSERT_NO_FATAL_FAILURE(
            twins.push(twins.values(rows.size()), [&](DenseStore& store, const std::byte* values) {
              return store.contribute(0, at, rows, values);
            }));
      } else {
        const auto keys = twins.keys();
        ASSERT_NO_FATAL_FAILURE(
            twins.push(twins.values(keys.size()), [&](DenseStore& store, const std::byte* values) {
              return store.contribute(0, at, std::span<const Key>(keys), values);
            }));
      }
    }
    ASSERT_NO_FATAL_FAILURE(twins.fold(WorkerClock(clock + 1)));
    if (random.chance(0.3)) {
      ASSERT_NO_FATAL_FAILURE(twins.expect_same());
    }
  }
  twins.expect_same();
}

TEST(LateStore, PushesThatAreAppliedOnArrival) {
  for (const auto& update : kUpdates)
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE(testing::Message() << update.rule << ", seed " << seed);
      ASSERT_NO_FATAL_FAILURE(check_arrivals<float>(update, seed));
      ASSERT_NO_FATAL_FAILURE(check_arrivals<BFloat16>(update, seed));
    }
}

TEST(LateStore, PushesThatAreSummedAndFolded) {
  for (const auto& update : kUpdates)
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE(testing::Message() << update.rule << ", seed " << seed);
      ASSERT_NO_FATAL_FAILURE(check_clocks<float>(update, seed));
      ASSERT_NO_FATAL_FAILURE(check_clocks<Float16>(update, seed));
    }
}

TEST(LateStore, RowsThatRepeatAddUp) {
  Random random(2);
  auto spec = spec_of(random, DType::f32, update_spec(Add{}), Apply::on_arrival);
  spec.initializer = {};
  LateFixture f;
  const auto rules = f.rules(spec, 1);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const std::vector<Key> keys{5, 200, 5, 7, 5, 200};
  const std::vector<float> ones(keys.size() * spec.row_width, 1.0f);
  ASSERT_EQ(store->apply(keys, test::bytes_of(ones)), Outcome::applied);
  std::vector<float> values(4 * spec.row_width);
  ASSERT_EQ(store->gather(std::vector<Key>{5, 6, 7, 200}, test::bytes_of(values)),
            Outcome::applied);
  f.device.run_all();
  for (std::size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(values[i], (std::vector<float>{3, 0, 1, 2})[i / spec.row_width]);
}

/// A reader's picture of a segment stays as it was when it was pinned.
TEST(LateStore, WhatIsPinnedIsCopiedBeforeItChanges) {
  Random random(1);
  TableSpec spec = spec_of(random, DType::f32, update_spec(Add{}), Apply::on_arrival);
  spec.initializer = {Initializer::Kind::constant, 2, 0, 0};
  LateFixture f;
  const auto rules = f.rules(spec, 1);
  auto store = DenseStore::create(rules, SlotIndex(0), f.context()).value();
  const auto rows = store->rows_of(0);
  const std::vector<float> ones(rows.size() * spec.row_width, 1.0f);
  const auto snapshot = store->pin(0);
  ASSERT_EQ(store->apply(rows, test::bytes_of(ones)), Outcome::applied);
  f.device.run_all();
  EXPECT_EQ(reinterpret_cast<const float*>(snapshot.memory->data)[0], 2);
  const auto now = store->pin(0);
  EXPECT_EQ(reinterpret_cast<const float*>(now.memory->data)[0], 3);
  auto context = f.context();
  for (const auto& picture : {snapshot, now}) unpin(context, *picture.memory);
}

}  // namespace
}  // namespace shoal
