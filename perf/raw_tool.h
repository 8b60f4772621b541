#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"

namespace shoal::perf {

/// A benchmark of another project that runs as a server and a client, both on this machine:
/// ucx_perftest, ib_write_bw. What it prints is what Shoal's own figures are held against.
struct Tool {
  std::string program;                 ///< to be found in PATH, or a path
  std::string package;                 ///< of Debian, that has it
  std::vector<std::string> arguments;  ///< of both sides; the client is told the server's host, too
  std::vector<std::pair<std::string, std::string>> environment;  ///< beside what this process has
  Duration limit = std::chrono::seconds(30);                     ///< for the whole run
};

/// Runs it, the client apart from the server where there are two cores (CoreSeat), and gives what
/// the client has printed. Errors: unavailable (it is not installed: the package), timed_out, io
/// (it failed: its last words).
Result<std::string> run_tool(const Tool& tool, const Clock& clock);

/// The numbers of the last line that has nothing but numbers, between spaces or commas. Errors:
/// protocol, if there is none of at least `least`.
Result<std::vector<double>> last_numbers(const std::string& text, std::size_t least);

/// Runs `tool` and returns one column of its last line of `columns` or more numbers. perftest takes
/// the rate of the processor's counter by a measurement of its own, which comes to nothing now and
/// then where time is emulated: what is infinite or 0 then is asked for again, some times. Errors:
/// of run_tool() and last_numbers(); protocol: it was so each time.
Result<double> tool_figure(const Tool& tool, std::size_t columns, std::size_t column,
                           const Clock& clock);

/// What ucx_perftest measures: `test` as its -t. In the environment of `tool` UCX finds which ways
/// it may use.
Tool ucx_perftest(const std::string& test, std::size_t bytes, std::uint64_t iterations);
/// From there to here and back, in microseconds, of a test of latency. Errors: as run_tool().
Result<double> ucx_round_trip_us(const Tool& tool, const Clock& clock);
/// Bytes a second. Errors: as run_tool().
Result<double> ucx_bandwidth(const Tool& tool, const Clock& clock);

}  // namespace shoal::perf
