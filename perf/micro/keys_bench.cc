// Key lists: their grouping in the worker, and what is kept of those that come again.

#include <benchmark/benchmark.h>

#include <numeric>

#include "perf/micro/store_parts.h"
#include "server/engine/key_lists.h"
#include "server/engine/slot.h"
#include "worker/engine/key_plans.h"

namespace shoal::perf {
namespace {

constexpr std::uint32_t kSlots = 16;

TableSpec listed_spec() {
  TableSpec spec;
  spec.name = "t";
  spec.layout = Layout::sparse;
  return spec;
}

/// The list that came before (kept), or one of many that take turns (never).
void worker_plan(benchmark::State& state, bool again) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const Geometry geometry(listed_spec(), kSlots);
  std::vector<std::uint32_t> ranks(kSlots);
  std::iota(ranks.begin(), ranks.end(), 0u);
  KeyPlans plans(1, again ? std::size_t{64} << 20 : 1);
  const auto keys = random_list(1, count);
  for (auto _ : state) plans.give(plans.take(keys, {TableId(1), geometry, ranks, true}));
  state.SetItemsProcessed(static_cast<std::int64_t>(count) * state.iterations());
}
BENCHMARK_CAPTURE(worker_plan, again, true)->Arg(100)->Arg(100'000);
BENCHMARK_CAPTURE(worker_plan, grouped, false)->Arg(100)->Arg(100'000);

void list_signature(benchmark::State& state) {
  const auto keys = random_list(1, static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(signature_of(keys));
  state.SetItemsProcessed(state.range(0) * state.iterations());
}
BENCHMARK(list_signature)->Arg(100)->Arg(100'000);

void server_list_find(benchmark::State& state) {
  StoreParts parts;
  const auto rules = parts.rules(Layout::sparse, 0, Add{});
  const auto slot = SlotState::create(rules, SlotIndex(0), {}, parts.context()).value();
  KeyLists lists(std::uint64_t{64} << 20);
  constexpr std::size_t kLists = 64, kKeys = 1000;
  std::vector<KeySignature> signatures;
  for (std::size_t i = 0; i < kLists; ++i) {
    const auto keys = random_list(i + 1, kKeys);
    signatures.push_back(signature_of(keys));
    lists.put(*slot, signatures.back(), keys);
  }
  std::size_t next = 0;
  for (auto _ : state) {
    if (!lists.find(*slot, signatures[next++ % kLists], kKeys).known())
      return state.SkipWithError("a list was not kept");
  }
}
BENCHMARK(server_list_find);

}  // namespace
}  // namespace shoal::perf
