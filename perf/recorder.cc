#include "perf/recorder.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace shoal::perf {

Latency Recorder::summary() {
  Latency latency;
  latency.count = count_;
  if (count_ == 0) return latency;
  const auto samples = std::span(samples_).first(count_);
  std::sort(samples.begin(), samples.end());
  const auto quantile = [&](double share) {
    const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(count_)));
    return static_cast<double>(samples[std::max<std::size_t>(rank, 1) - 1]);
  };
  latency.min = static_cast<double>(samples.front());
  latency.max = static_cast<double>(samples.back());
  latency.p50 = quantile(0.5);
  latency.p99 = quantile(0.99);
  latency.p999 = quantile(0.999);
  double sum = 0, squares = 0;
  for (const auto sample : samples) sum += static_cast<double>(sample);
  latency.mean = sum / static_cast<double>(count_);
  for (const auto sample : samples) {
    const auto off = static_cast<double>(sample) - latency.mean;
    squares += off * off;
  }
  latency.stdev = std::sqrt(squares / static_cast<double>(count_));
  return latency;
}

}  // namespace shoal::perf
