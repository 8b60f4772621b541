#include "core/base/core_demand.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace shoal {

namespace {

/// The second of three numbers: nanoseconds on a CPU, in a queue of one, and slices of time.
std::optional<Duration> queued() {
  std::array<char, 96> text;
  const int file = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  const auto bytes = ::read(file, text.data(), text.size());
  ::close(file);
  if (bytes <= 0) return std::nullopt;
  const std::string_view all(text.data(), static_cast<std::size_t>(bytes));
  const auto* end = all.data() + all.size();
  std::int64_t ran = 0, waited = 0;
  const auto first = std::from_chars(all.data(), end, ran);
  if (first.ec != std::errc() || first.ptr == end) return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, waited);
  // A kernel that does not count says zero.
  if (second.ec != std::errc() || ran == 0) return std::nullopt;
  return Duration(waited);
}

Duration taken_away() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw * std::chrono::microseconds(500);
}

}  // namespace

void CoreDemand::look(TimePoint now) {
  const auto waited = waited_();
  const auto periods = (now - looked_at_) / kPeriod;  // a thread that slept looks late
  high_ = look_at_ != TimePoint{} && waited - seen_ >= kWaitedPerPeriod * periods;
  seen_ = waited;
  looked_at_ = now;
  look_at_ = deadline_after(now, kPeriod);
}

Duration waited_for_core() {
  static const bool is_counted = queued().has_value();
  if (!is_counted) return taken_away();
  thread_local Duration last{};  // for whoever has no descriptor left to ask with
  if (const auto waited = queued()) last = *waited;
  return last;
}

bool core_is_wanted(TimePoint now) {
  thread_local CoreDemand demand(waited_for_core);
  return demand.is_high(now);
}

}  // namespace shoal
