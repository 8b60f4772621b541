// Each update rule in cache: a segment again and again. Out of cache: the rows ops/* of the suite.

#include <benchmark/benchmark.h>

#include "perf/bench/rule_field.h"

namespace shoal::perf {
namespace {

template <class Pass>
void measure_rule(benchmark::State& state, const RuleCase& rule, const Pass& pass) {
  auto field = RuleField::create(rule, 0, 4096);
  if (!field.ok()) return state.SkipWithError("no memory");
  for (auto _ : state) pass(*field);
  state.SetBytesProcessed(static_cast<std::int64_t>(field->bytes_touched()) * state.iterations());
}

const bool kRulesRegistered = [] {
  for (const auto& rule : rule_cases()) {
    benchmark::RegisterBenchmark(("rule/" + rule.name()).c_str(), [&rule](benchmark::State& state) {
      measure_rule(state, rule, [](RuleField& field) { field.apply(); });
    });
    benchmark::RegisterBenchmark(
        ("rule/" + rule.name() + "/by_hand").c_str(), [&rule](benchmark::State& state) {
          measure_rule(state, rule,
                       [](RuleField& field) { field.apply_by_hand(best_hand_form()); });
        });
  }
  return true;
}();

}  // namespace
}  // namespace shoal::perf
