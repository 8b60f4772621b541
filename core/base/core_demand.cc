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
  // A thread that slept for long looks late.
  const auto limit = static_cast<double>(kSwitchesPerPeriod) *
                     (static_cast<double>((now - looked_at_).count()) / kPeriod.count());
  high_ = look_at_ != TimePoint{} && static_cast<double>(switches - seen_) >= limit;
  seen_ = switches;
  looked_at_ = now;
  look_at_ = deadline_after(now, kPeriod);
}

bool core_is_wanted(TimePoint now) {
  thread_local CoreDemand demand(involuntary_switches);
  return demand.is_high(now);
}

}  // namespace shoal
