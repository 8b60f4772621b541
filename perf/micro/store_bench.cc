// Stores and the index of sparse rows.

#include <benchmark/benchmark.h>

#include <algorithm>

#include "perf/micro/store_parts.h"
#include "server/store/dense_store.h"
#include "server/store/sparse_index.h"
#include "server/store/sparse_store.h"

namespace shoal::perf {
namespace {

void dense_apply(benchmark::State& state) {
  const auto rows = static_cast<std::uint64_t>(state.range(0));
  StoreParts parts;
  const auto rules = parts.rules(Layout::dense, 1u << 20, Add{});
  const auto store = DenseStore::create(rules, SlotIndex(0), parts.context()).value();
  std::vector<float> values(rows, 1.0f);
  for (auto _ : state)
    if (store->apply({0, rows}, bytes_of(values)) != Outcome::applied)
      return state.SkipWithError("a push was not applied");
  state.SetBytesProcessed(static_cast<std::int64_t>(rows * sizeof(float)) * state.iterations());
}
BENCHMARK(dense_apply)->Arg(2)->Arg(1024)->Arg(65536);

void dense_pin(benchmark::State& state) {
  StoreParts parts;
  const auto rules = parts.rules(Layout::dense, 1u << 20, Add{});
  const auto store = DenseStore::create(rules, SlotIndex(0), parts.context()).value();
  auto context = parts.context();
  for (auto _ : state) unpin(context, *store->pin(0).memory);
}
BENCHMARK(dense_pin);

/// A push to a segment that is being sent: copied, then changed.
void dense_copy_on_write(benchmark::State& state) {
  StoreParts parts;
  const auto rules = parts.rules(Layout::dense, 1u << 20, Add{});
  const auto store = DenseStore::create(rules, SlotIndex(0), parts.context()).value();
  auto context = parts.context();
  std::vector<float> values(2, 1.0f);
  for (auto _ : state) {
    const auto snapshot = store->pin(0);
    if (store->apply({0, 2}, bytes_of(values)) != Outcome::applied)
      return state.SkipWithError("a push was not applied");
    unpin(context, *snapshot.memory);
  }
}
BENCHMARK(dense_copy_on_write);

void sparse_apply(benchmark::State& state, const UpdateSpec& update) {
  const auto count = static_cast<std::size_t>(state.range(0));
  StoreParts parts;
  const auto rules = parts.rules(Layout::sparse, 0, update);
  const auto store = SparseStore::create(rules, SlotIndex(0), parts.context()).value();
  const auto keys = random_list(1, count);
  std::vector<float> values(count, 1.0f);
  for (auto _ : state)
    if (store->apply(keys, bytes_of(values)) != Outcome::applied)
      return state.SkipWithError("a push was not applied");
  state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK_CAPTURE(sparse_apply, add, Add{})->Arg(100)->Arg(50'000);
BENCHMARK_CAPTURE(sparse_apply, adam, Adam{})->Arg(100)->Arg(50'000);
BENCHMARK_CAPTURE(sparse_apply, ftrl, Ftrl{.l1 = 0.01})->Arg(100)->Arg(50'000);

void sparse_gather(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  StoreParts parts;
  const auto rules = parts.rules(Layout::sparse, 0, Add{});
  const auto store = SparseStore::create(rules, SlotIndex(0), parts.context()).value();
  const auto keys = random_list(1, count);
  std::vector<float> values(count, 1.0f);
  if (store->apply(keys, bytes_of(values)) != Outcome::applied)
    return state.SkipWithError("a push was not applied");
  for (auto _ : state) store->gather(keys, bytes_of(values));
  state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK(sparse_gather)->Arg(100)->Arg(50'000);

/// In the order of hashes a list comes from a worker's KeyPlan, about.
void index_find(benchmark::State& state, bool by_hash) {
  const auto count = static_cast<std::size_t>(state.range(0));
  StoreParts parts;
  SparseIndex index(parts.device, parts.budget, 0);
  auto keys = random_list(1, count);
  if (by_hash) std::ranges::sort(keys, {}, mix64);
  std::vector<std::uint32_t> positions(count);
  index.find(keys, positions);
  if (!index.insert_absent(keys, positions, 0).ok()) return state.SkipWithError("no memory");
  for (auto _ : state) benchmark::DoNotOptimize(index.find(keys, positions));
  state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK_CAPTURE(index_find, random, false)->Arg(1000)->Arg(1'000'000);
BENCHMARK_CAPTURE(index_find, by_hash, true)->Arg(1'000'000);

/// A list of a quarter of a table's keys, in the order in which a worker's KeyPlan sends it: slot
/// after slot, roughly by hash.
void index_find_grouped(benchmark::State& state) {
  constexpr unsigned kSlotBits = 4;
  constexpr unsigned kStreamBits = 9;
  constexpr std::size_t kSlots = std::size_t{1} << kSlotBits;
  const auto count = static_cast<std::size_t>(state.range(0));
  StoreParts parts;
  std::vector<SparseIndex> indexes;
  for (std::uint32_t slot = 0; slot < kSlots; ++slot)
    indexes.emplace_back(parts.device, parts.budget, kSlotBits, slot);
  std::vector<std::vector<Key>> lists(kSlots);
  std::vector<std::uint32_t> positions(4 * count);
  const auto keys = random_list(1, 4 * count);
  for (const auto key : keys) lists[mix64(key) >> (64 - kSlotBits)].push_back(key);
  const auto places = [&](const std::vector<Key>& list) {
    return std::span(positions).first(list.size());
  };
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    auto& list = lists[slot];
    indexes[slot].find(list, places(list));
    if (!indexes[slot].insert_absent(list, places(list), 0).ok())
      return state.SkipWithError("no memory");
    std::vector<Key> some;
    for (std::size_t i = 0; i < list.size(); i += 4) some.push_back(list[i]);
    std::ranges::stable_sort(some, {}, [](Key key) { return mix64(key) >> (64 - kStreamBits); });
    list = std::move(some);
  }
  for (auto _ : state)
    for (std::size_t slot = 0; slot < kSlots; ++slot)
      benchmark::DoNotOptimize(indexes[slot].find(lists[slot], places(lists[slot])));
  state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK(index_find_grouped)->Arg(1'000'000);

/// Growing included.
void index_insert(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  StoreParts parts;
  const auto keys = random_list(1, count);
  std::vector<std::uint32_t> positions(count);
  for (auto _ : state) {
    SparseIndex index(parts.device, parts.budget, 0);
    index.find(keys, positions);
    if (!index.insert_absent(keys, positions, 0).ok()) return state.SkipWithError("no memory");
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK(index_insert)->Arg(1000)->Arg(100'000);

}  // namespace
}  // namespace shoal::perf
