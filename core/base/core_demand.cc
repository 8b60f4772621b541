#include "core/base/core_demand.h"

#include <sys/resource.h>

namespace shoal {

namespace {

long involuntary_switches() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

}  // namespace

void CoreDemand::look(TimePoint now) {
  const auto switches = count_();
  const auto periods = (now - looked_at_) / kPeriod;  // a thread that slept looks late
  high_ = look_at_ != TimePoint{} && switches - seen_ >= kSwitchesPerPeriod * periods;
  seen_ = switches;
  looked_at_ = now;
  look_at_ = deadline_after(now, kPeriod);
}

bool core_is_wanted(TimePoint now) {
  thread_local CoreDemand demand(involuntary_switches);
  return demand.is_high(now);
}

}  // namespace shoal
