#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "perf/window.h"
#include "perf/workload.h"

namespace shoal::perf {

/// One operation of one size, measured: a line of `shoal perf`.
struct Line {
  Op op = Op::pull;
  std::size_t bytes = 0;
  std::uint32_t inflight = 1;  ///< of the bandwidth's run
  Latency latency;             ///< one at a time, ns; `send` and `write`: half a round trip
  Latency loaded;              ///< with `inflight` under way
  double rate = 0;             ///< operations a second
  double bytes_rate = 0;       ///< bytes a second, both ways together
  double peak = 0;
  std::string path;                ///< that the bytes took, as the transport explains it
  double cpu_seconds_per_gib = 0;  ///< both processes, all threads, of the bandwidth's run
};

/// What all lines have in common.
struct Settings {
  std::string transport;
  std::string peer;  ///< address, "local"
  Wait wait = Wait::spin;
  Config::Progress progress = Config::Progress::caller;
  bool both_ways = false;
  bool checked = false;
};

/// Columns as ib_write_lat and ib_write_bw of perftest have them.
std::string report_head(const Settings& settings);
std::string report_line(const Line& line);
/// {"host", "settings": {...}, "results": [...]}.
std::string report_json(const Settings& settings, const std::vector<Line>& lines);

/// What the figures say against how they were taken, for people; empty: nothing.
std::string advice(const Settings& settings, const std::vector<Line>& lines);

/// A script that makes gnuplot draw latency and bandwidth over size into a PNG file, a curve for
/// each operation.
std::string plot_script(const Settings& settings, const std::vector<Line>& lines,
                        const std::string& png_path);
/// Whether draw() could work, asked before there is anything to draw. Errors: draw()'s.
Status check_drawing(const std::string& png_path);
/// Runs gnuplot on a script. Errors: unavailable (it is not installed), io (with what it said).
Status draw(const std::string& script, const std::string& png_path);

}  // namespace shoal::perf
