#include "perf/window.h"

#include <algorithm>

namespace shoal::perf {

namespace {

double seconds_of(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

Meter::Meter(const Limits& limits, TimePoint now, std::size_t bytes_each, Recorder& recorder)
    : limits_(limits),
      measure_from_(deadline_after(now, limits.warmup)),
      bytes_each_(bytes_each),
      recorder_(recorder) {
  recorder_.clear();
}

void Meter::ended(TimePoint issued, TimePoint now) {
  ++all_;
  if (over_) return;
  if (!measuring_) {
    if (now < measure_from_) return;
    measuring_ = true;
    begin_ = end_ = slice_begin_ = now;
    return;
  }
  recorder_.add(now - issued);
  ++count_;
  ++slice_count_;
  end_ = now;
  if (now - slice_begin_ >= kSlice) {
    const auto rate = static_cast<double>(slice_count_ * bytes_each_);
    peak_ = std::max(peak_, rate / seconds_of(now - slice_begin_));
    slice_begin_ = now;
    slice_count_ = 0;
  }
  over_ = recorder_.full() ||
          (limits_.iterations != 0 ? count_ >= limits_.iterations
                                   : count_ >= kOperationsMin && now - begin_ >= limits_.duration);
}

Measured Meter::result() {
  Measured measured;
  measured.latency = recorder_.summary();
  measured.seconds = seconds_of(end_ - begin_);
  if (measured.seconds > 0) {
    measured.rate = static_cast<double>(count_) / measured.seconds;
    measured.bytes_rate = measured.rate * static_cast<double>(bytes_each_);
  }
  measured.peak = std::max(peak_, measured.bytes_rate);
  measured.moved = all_ * bytes_each_;
  return measured;
}

}  // namespace shoal::perf
