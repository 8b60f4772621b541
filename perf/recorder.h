#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/clock.h"

namespace shoal::perf {

/// What a run's latencies come to, in nanoseconds.
struct Latency {
  std::uint64_t count = 0;
  double min = 0, p50 = 0, p99 = 0, p999 = 0, max = 0, mean = 0, stdev = 0;
};

/// The latency of every operation of a run, so that quantiles are exact. Bounded: a run ends when
/// its recorder is full. All memory is taken, and touched, by the constructor.
class Recorder {
 public:
  /// 8 MiB; at a million operations a second, a second.
  static constexpr std::size_t kSamplesMax = std::size_t{1} << 20;

  explicit Recorder(std::size_t capacity = kSamplesMax) : samples_(capacity) {}
  void add(Duration latency) {
    if (count_ < samples_.size()) samples_[count_++] = latency.count();
  }
  bool full() const { return count_ == samples_.size(); }
  std::size_t count() const { return count_; }
  void clear() { count_ = 0; }
  /// Quantiles by nearest rank: p99 is the least sample that 99 % do not exceed. Sorts.
  Latency summary();

 private:
  std::vector<Duration::rep> samples_;
  std::size_t count_ = 0;
};

}  // namespace shoal::perf
