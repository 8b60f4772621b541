// Sparse rows on a device like a GPU: what is issued runs late, and in the end they are what those
// of the host are.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/random.h"
#include "server/store/sparse_store.h"
#include "tests/server/late_fixture.h"
#include "tests/server/store_fixture.h"

namespace shoal {
namespace {

using test::LateFixture;
using test::StoreFixture;

constexpr SlotIndex kSparseSlot(1);

/// A store of the host and one on a device, to which the same is done; the late one's inputs are
/// gone as soon as they may be.
template <class T>
class SparseTwins {
 public:
  SparseTwins(const TableSpec& spec, Random& random)
      : random_(random),
        rules_(host_.rules(spec, 2)),
        late_rules_(late_.rules(spec, 2)),
        store_(SparseStore::create(rules_, kSparseSlot, host_.context()).value()),
        late_store_(SparseStore::create(late_rules_, kSparseSlot, late_.context()).value()) {}

  /// Keys of the slot, of which some were there before. Rows whose repeats the host applies one
  /// after another, where a device applies their sum, come once each.
  std::vector<Key> keys() {
    std::vector<Key> keys;
    for (auto count = 1 + random_.below(150); keys.size() < count;) {
      const Key key = random_.below(1 << 12);
      if (rules_.geometry().slot_of_key(key) == kSparseSlot) keys.push_back(key);
    }
    if (rules_.rule().traits().repeats_compose && !rules_.sums()) {
      std::sort(keys.begin(), keys.end());
      keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    }
    return keys;
  }

  /// Calls f(store, keys or positions, inputs) for both, the late one until it has room.
  template <class F>
  void push(const F& f) {
    const auto keys = this->keys();
    std::vector<T> values(keys.size() * rules_.row_values());
    for (auto& v : values) v = static_cast<T>(static_cast<float>(random_.below(200)) / 16 - 5);
    std::vector<std::uint32_t> positions(keys.size());
    const bool placed = random_.chance(0.5) && late_store_->find(keys, positions);
    ASSERT_EQ(f(*store_, std::span<const Key>(keys), test::bytes_of(values)), Outcome::applied);
    auto* inputs = new std::byte[values.size() * sizeof(T) + 1];
    std::memcpy(inputs, values.data(), values.size() * sizeof(T));
    const auto* const_inputs = inputs;
    for (;;) {
      const auto outcome =
          placed ? f(*late_store_, std::span<const std::uint32_t>(positions), const_inputs)
                 : f(*late_store_, std::span<const Key>(keys), const_inputs);
      if (outcome == Outcome::applied) break;
      ASSERT_EQ(outcome, Outcome::no_room);
      ASSERT_GT(late_.device.waiting(), 0u);
      ++refused_;
      late_.device.run(1);
    }
    late_.device.issue([inputs] { delete[] inputs; });
    if (random_.chance(0.05)) late_.device.run(random_.below(60));
  }

  void expect_same() {
    auto keys = this->keys();
    const auto row_bytes = rules_.geometry().row_bytes();
    std::vector<std::byte> expected(keys.size() * row_bytes), there(keys.size() * row_bytes);
    ASSERT_EQ(store_->gather(keys, expected.data()), Outcome::applied);
    late_.device.run_all();
    ASSERT_EQ(late_store_->gather(keys, there.data()), Outcome::applied);
    late_.device.run_all();
    ASSERT_EQ(expected, there);
    ASSERT_EQ(store_->row_count(), late_store_->row_count());
  }
  void fold(WorkerClock clock) {
    store_->fold(clock);
    late_store_->fold(clock);
  }
  std::size_t refused() const { return refused_; }

 private:
  Random& random_;
  StoreFixture host_;
  LateFixture late_;
  TableRules rules_, late_rules_;
  std::unique_ptr<SparseStore> store_, late_store_;
  std::size_t refused_ = 0;
};

TableSpec random_sparse(Random& random, DType dtype, const UpdateSpec& update, Apply apply) {
  TableSpec spec;
  spec.name = "t";
  spec.layout = Layout::sparse;
  spec.dtype = dtype;
  spec.row_width = static_cast<std::uint32_t>(1 + random.below(12));
  spec.update = update;
  spec.apply = apply;
  spec.staleness = apply == Apply::on_arrival ? unbounded : 2;
  if (random.chance(0.5)) spec.initializer = {Initializer::Kind::normal, 0, 1, 5};
  return spec;
}

const UpdateSpec kSparseUpdates[] = {update_spec(Add{}), update_spec(Sgd{}), update_spec(Adagrad{}),
                                     update_spec(Adam{}), update_spec(Assign{})};

template <class T>
void check_sparse_arrivals(const UpdateSpec& update, std::uint64_t seed) {
  Random random(seed);
  SparseTwins<T> twins(random_sparse(random, dtype_of<T>(), update, Apply::on_arrival), random);
  for (int step = 0; step < 60; ++step) {
    const bool set = random.chance(0.1);
    ASSERT_NO_FATAL_FAILURE(twins.push([&](SparseStore& store, auto rows, const std::byte* values) {
      if (set) return store.set(rows, values);
      if constexpr (std::is_same_v<decltype(rows), std::span<const Key>>)
        return store.apply(rows, values);
      else
        return store.apply(rows, store.are_distinct(rows), values);
    }));
    if (random.chance(0.05)) {
      ASSERT_NO_FATAL_FAILURE(twins.expect_same());
    }
  }
  ASSERT_NO_FATAL_FAILURE(twins.expect_same());
}

template <class T>
void check_sparse_clocks(const UpdateSpec& update, std::uint64_t seed) {
  Random random(seed);
  SparseTwins<T> twins(random_sparse(random, dtype_of<T>(), update, Apply::per_clock), random);
  for (std::int64_t clock = 0; clock < 12; ++clock) {
    for (auto pushes = random.below(10); pushes > 0; --pushes) {
      const WorkerClock at(clock + static_cast<std::int64_t>(random.below(2)));
      ASSERT_NO_FATAL_FAILURE(
          twins.push([&](SparseStore& store, auto rows, const std::byte* values) {
            return store.contribute(at, rows, values);
          }));
    }
    twins.fold(WorkerClock(clock + 1));
    if (random.chance(0.1)) {
      ASSERT_NO_FATAL_FAILURE(twins.expect_same());
    }
  }
  ASSERT_NO_FATAL_FAILURE(twins.expect_same());
}

TEST(LateSparseStore, PushesThatAreAppliedOnArrival) {
  for (const auto& update : kSparseUpdates)
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(testing::Message() << update.rule << ", seed " << seed);
      ASSERT_NO_FATAL_FAILURE(check_sparse_arrivals<float>(update, seed));
      ASSERT_NO_FATAL_FAILURE(check_sparse_arrivals<BFloat16>(update, seed));
    }
}

TEST(LateSparseStore, PushesThatAreSummedAndFolded) {
  for (const auto& update : kSparseUpdates)
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(testing::Message() << update.rule << ", seed " << seed);
      ASSERT_NO_FATAL_FAILURE(check_sparse_clocks<float>(update, seed));
      ASSERT_NO_FATAL_FAILURE(check_sparse_clocks<Float16>(update, seed));
    }
}

/// A device that does nothing for long is handed no more than its lists have room for, and what was
/// refused has changed nothing.
TEST(LateSparseStore, WhatFindsNoRoomIsTriedAgain) {
  Random random(3);
  auto spec = random_sparse(random, DType::f32, update_spec(Adagrad{}), Apply::on_arrival);
  spec.initializer = {Initializer::Kind::uniform, -1, 1, 9};
  spec.row_width = 64;
  SparseTwins<float> twins(spec, random);
  for (int step = 0; step < 200; ++step)
    ASSERT_NO_FATAL_FAILURE(twins.push([&](SparseStore& store, auto rows, const std::byte* values) {
      if constexpr (std::is_same_v<decltype(rows), std::span<const Key>>)
        return store.apply(rows, values);
      else
        return store.apply(rows, false, values);
    }));
  EXPECT_GT(twins.refused(), 0u);
  twins.expect_same();
}

}  // namespace
}  // namespace shoal
