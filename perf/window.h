#pragma once

#include <cstdint>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "perf/recorder.h"

namespace shoal::perf {

/// How long a run is measured.
struct Limits {
  Duration warmup = std::chrono::milliseconds(50);  ///< unmeasured, before
  Duration duration = std::chrono::milliseconds(500);
  std::uint64_t iterations = 0;  ///< 0: by `duration` alone; else exactly so many, however long
};

/// What a run came to.
struct Measured {
  Latency latency;          ///< from issuing an operation to seeing its end
  double seconds = 0;       ///< between the ends of the first and last measured operation
  double rate = 0;          ///< operations a second, with the pipeline full all the time
  double bytes_rate = 0;    ///< bytes a second, the same
  double peak = 0;          ///< the best slice's bytes a second
  std::uint64_t moved = 0;  ///< bytes of all operations, unmeasured ones too: what CPU time is for
};

/// Measures one run as its operations end.
class Meter {
 public:
  Meter(const Limits& limits, TimePoint now, std::size_t bytes_each, Recorder& recorder);
  /// An operation has ended.
  void ended(TimePoint issued, TimePoint now);
  /// Nothing more is to be issued, and what ends from now on is not counted.
  bool over() const { return over_; }
  Measured result();

 private:
  /// Peaks are looked for in slices of this length; shorter ones show the scheduler, not the path.
  static constexpr Duration kSlice = std::chrono::milliseconds(10);
  /// However slow they are: a rate of fewer says nothing.
  static constexpr std::uint64_t kOperationsMin = 4;

  Limits limits_;
  TimePoint measure_from_;
  std::size_t bytes_each_;
  Recorder& recorder_;
  bool measuring_ = false;
  bool over_ = false;
  TimePoint begin_{}, end_{}, slice_begin_{};
  std::uint64_t count_ = 0, slice_count_ = 0, all_ = 0;
  double peak_ = 0;
};

/// Keeps `inflight` operations under way. `issue(i)` starts operation i, `finish(i)` waits for its
/// end; both return Status, and operations are finished in the order of their issue. Rates are
/// taken between two ends with the pipeline full at both, so that neither filling nor draining
/// counts.
template <class Issue, class Finish>
Result<Measured> run_window(const Clock& clock, const Limits& limits, std::uint32_t inflight,
                            std::size_t bytes_each, Recorder& recorder, Issue&& issue,
                            Finish&& finish) {
  std::vector<TimePoint> issued(inflight);
  Meter meter(limits, clock.now(), bytes_each, recorder);
  std::uint64_t next = 0, done = 0;
  for (;;) {
    while (next - done < inflight && !meter.over()) {
      issued[next % inflight] = clock.now();
      SHOAL_TRY(issue(next));
      ++next;
    }
    if (done == next) return meter.result();
    SHOAL_TRY(finish(done));
    meter.ended(issued[done % inflight], clock.now());
    ++done;
  }
}

}  // namespace shoal::perf
