#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "perf/raw_tool.h"
#include "perf/report.h"

namespace shoal::perf {

/// A benchmark that does over the same path what some lines measured.
struct RawRun {
  enum class Figure : std::uint8_t { one_way, round_trip, bandwidth };
  Tool tool;
  Figure figure;           ///< one_way: half of there and back
  std::size_t column = 0;  ///< of its line of numbers
  double unit = 1;         ///< that the number counts: microseconds, or bytes a second
};

/// For the smallest size a latency (of READs where that was measured), for the largest a bandwidth
/// in each direction that was measured: by ucx_perftest where lines went over UCX, by perftest's
/// ib_* where they went over verbs, by nothing for TCP.
std::vector<RawRun> raw_runs(const std::vector<Line>& lines);

/// What to print below `lines`, a line each. Both ends on this machine (`local`): the figures, or
/// why there are none; takes some seconds. Else the commands for the two machines.
std::vector<std::string> raw_figures(const std::vector<Line>& lines, bool local,
                                     const Clock& clock);

}  // namespace shoal::perf
