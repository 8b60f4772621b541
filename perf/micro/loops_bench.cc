// What clocks cost, a turn of a loop in which nothing but timers is looked at, and whole
// operations.

#include <benchmark/benchmark.h>

#include "core/consistency/clock_table.h"
#include "perf/bench/eager_path.h"

namespace shoal::perf {
namespace {

/// What opens the gate of pulls: every worker reports its clock, then G rises.
void clock_round(benchmark::State& state) {
  const auto workers = static_cast<std::uint32_t>(state.range(0));
  ClockTable clocks;
  for (std::uint32_t i = 0; i < workers; ++i) clocks.add(NodeId(i + 1), WorkerClock(0));
  std::int64_t clock = 0;
  for (auto _ : state) {
    ++clock;
    for (std::uint32_t i = 0; i < workers; ++i) clocks.report(NodeId(i + 1), WorkerClock(clock));
    if (!clocks.advance()) return state.SkipWithError("G did not rise");
  }
  state.SetItemsProcessed(state.range(0) * state.iterations());
}
BENCHMARK(clock_round)->Arg(4)->Arg(1000);

/// Sockets without news and timers that are not due.
void idle_turns(benchmark::State& state) {
  const auto path = EagerPath::create(eager_cases()[0]);
  if (!path.ok()) return state.SkipWithError(path.error().message().c_str());
  for (auto _ : state) (*path)->turn();
}
BENCHMARK(idle_turns);

/// Worker and server take turns in one thread: processor time without waiting or waking.
const bool kOperationsRegistered = [] {
  for (const auto& wanted : eager_cases())
    benchmark::RegisterBenchmark((std::string("operation/") + wanted.name).c_str(),
                                 [&wanted](benchmark::State& state) {
                                   const auto path = EagerPath::create(wanted);
                                   if (!path.ok())
                                     return state.SkipWithError(path.error().message().c_str());
                                   for (auto _ : state)
                                     if (!(*path)->run(1).ok())
                                       return state.SkipWithError("an operation failed");
                                 });
  return true;
}();

}  // namespace
}  // namespace shoal::perf
