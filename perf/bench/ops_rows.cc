// What an update costs where memory is the limit: each rule's kernel against a loop by hand.

#include <time.h>

#include "perf/bench/row.h"
#include "perf/bench/rule_field.h"
#include "perf/bench/sides.h"

namespace shoal::perf {

namespace {

/// Weights, states and inputs together: many times the last cache.
constexpr std::size_t kBytes = std::size_t{256} << 20;
constexpr std::size_t kSmokeBytes = std::size_t{4} << 20;
constexpr std::uint64_t kPasses = 15;

/// Time that this process ran: who else wants the core does not count, as nobody is waited for
/// here.
class ProcessorClock final : public Clock {
 public:
  TimePoint now() const override {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return TimePoint(std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec));
  }
};

/// The median pass, in bytes read and written a second.
template <class Pass>
Result<double> measure(const RuleCase& rule, const Effort& effort, const Pass& pass) {
  SHOAL_ASSIGN(auto field, RuleField::create(rule, effort.smoke ? kSmokeBytes : kBytes));
  const ProcessorClock clock;
  Recorder recorder;
  Meter meter(effort.operations(kPasses), clock.now(), field.bytes_touched(), recorder);
  while (!meter.over()) {
    const auto begin = clock.now();
    pass(field);
    meter.ended(begin, clock.now());
  }
  return static_cast<double>(field.bytes_touched()) / meter.result().latency.p50;  // bytes per ns
}

template <class Pass>
Row::Side side(const RuleCase& rule, Pass pass) {
  return [&rule, pass](const Effort& effort) {
    return run_alone("rule", [&] { return measure(rule, effort, pass); });
  };
}

}  // namespace

void add_ops_rows(std::vector<Row>& rows) {
  for (const auto& rule : rule_cases())
    rows.push_back({"ops/" + rule.name(), "GB/s", Goal::ratio_at_least(0.9),
                    side(rule, [](RuleField& field) { field.apply(); }),
                    side(rule, [](RuleField& field) { field.apply_by_hand(best_hand_form()); })});
}

}  // namespace shoal::perf
