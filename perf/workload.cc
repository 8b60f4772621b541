#include "perf/workload.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/base/nearest.h"
#include "core/wire/frame.h"

namespace shoal::perf {

namespace {

constexpr std::array<std::string_view, kOpCount> kOpNames = {"send", "read",      "write",   "push",
                                                             "pull", "push_pull", "onesided"};

}  // namespace

std::string_view name_of(Op op) { return kOpNames[static_cast<std::size_t>(op)]; }

Result<Op> parse_op(std::string_view text) {
  for (std::size_t i = 0; i < kOpNames.size(); ++i)
    if (kOpNames[i] == text) return static_cast<Op>(i);
  return Error{Errc::unknown_name,
               fmt::format("no operation '{}'{}", text, suggest_name(text, kOpNames))};
}

std::size_t bytes_max(Op op) {
  return op == Op::send ? FrameLimits{}.payload_bytes_max : std::size_t{1} << 30;
}

std::string_view name_of(Wait wait) { return wait == Wait::spin ? "spin" : "block"; }
std::string_view name_of(Config::Progress progress) {
  return progress == Config::Progress::caller ? "caller" : "thread";
}

Result<Wait> parse_wait(std::string_view text) {
  if (text == "spin") return Wait::spin;
  if (text == "block") return Wait::block;
  return Error{Errc::invalid_argument, fmt::format("'{}': expected 'spin' or 'block'", text)};
}

Duration spin_of(Wait wait) {
  return wait == Wait::spin ? Duration(std::chrono::milliseconds(100)) : Duration::zero();
}

std::uint32_t default_inflight(std::size_t bytes) {
  constexpr std::size_t kBytesInFlight = 8u << 20;
  return static_cast<std::uint32_t>(
      std::clamp<std::size_t>(kBytesInFlight / std::max<std::size_t>(bytes, 1), 2, 64));
}

std::size_t ring_size(std::size_t bytes, std::uint32_t inflight) {
  constexpr std::size_t kFootprint = 64u << 20;
  constexpr std::size_t kBuffersMax = 4096;
  const auto buffers = std::min(kFootprint / std::max<std::size_t>(bytes, 1), kBuffersMax);
  return std::max<std::size_t>(buffers, inflight);
}

}  // namespace shoal::perf
