#include "perf/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "perf/host.h"

namespace shoal::perf {

namespace {

constexpr double kNsPerUsec = 1e3;

nlohmann::ordered_json json_of(const Latency& latency) {
  return {{"count", latency.count},
          {"min", latency.min / kNsPerUsec},
          {"p50", latency.p50 / kNsPerUsec},
          {"p99", latency.p99 / kNsPerUsec},
          {"p99.9", latency.p999 / kNsPerUsec},
          {"max", latency.max / kNsPerUsec},
          {"mean", latency.mean / kNsPerUsec},
          {"stdev", latency.stdev / kNsPerUsec}};
}

}  // namespace

std::string report_head(const Settings& settings) {
  return fmt::format(
      "# transport {}, peer {}, {}{}{}{}\n"
      "{:<10} {:>10} {:>11} {:>11} {:>15} {:>12} {:>13} {:>11} {:>16} {:>19} {:>13} {:>10}",
      settings.transport, settings.peer, name_of(settings.wait),
      fmt::format(", {}-driven", name_of(settings.progress)),
      settings.both_ways ? ", both directions" : "", settings.checked ? ", data checked" : "",
      "#op", "#bytes", "#iterations", "t_min[usec]", "t_typical[usec]", "t_99%[usec]",
      "t_99.9%[usec]", "t_max[usec]", "BW peak[MiB/sec]", "BW average[MiB/sec]", "MsgRate[Mpps]",
      "CPU[s/GiB]");
}

std::string report_line(const Line& line) {
  const auto& latency = line.latency;
  return fmt::format(
      "{:<10} {:>10} {:>11} {:>11.2f} {:>15.2f} {:>12.2f} {:>13.2f} {:>11.2f} {:>16.2f} {:>19.2f} "
      "{:>13.6f} {:>10.3f}",
      name_of(line.op), line.bytes, line.loaded.count, latency.min / kNsPerUsec,
      latency.p50 / kNsPerUsec, latency.p99 / kNsPerUsec, latency.p999 / kNsPerUsec,
      latency.max / kNsPerUsec, line.peak / kBytesPerMiB, line.bytes_rate / kBytesPerMiB,
      line.rate / 1e6, line.cpu_seconds_per_gib);
}

std::string advice(const Settings& settings, const std::vector<Line>& lines) {
  constexpr std::size_t kSmall = 64u << 10;
  constexpr double kLongNs = 1e6;
  const auto starved = std::find_if(lines.begin(), lines.end(), [](const Line& line) {
    return line.bytes <= kSmall && line.latency.p50 > kLongNs;
  });
  if (settings.wait != Wait::spin || starved == lines.end()) return {};
  return fmt::format(
      "a {} of {} B takes {:.1f} ms: both sides spin while they wait, which needs cores that "
      "nothing "
      "else uses; on busy ones, --wait block",
      name_of(starved->op), starved->bytes, starved->latency.p50 / 1e6);
}

std::string report_json(const Settings& settings, const std::vector<Line>& lines) {
  using Json = nlohmann::ordered_json;
  Json all = {{"host", host_description()},
              {"settings",
               {{"transport", settings.transport},
                {"peer", settings.peer},
                {"wait", name_of(settings.wait)},
                {"progress", name_of(settings.progress)},
                {"bidirectional", settings.both_ways},
                {"checked", settings.checked}}},
              {"results", Json::array()}};
  for (const auto& line : lines)
    all["results"].push_back({{"op", name_of(line.op)},
                              {"path", line.path},
                              {"bytes", line.bytes},
                              {"inflight", line.inflight},
                              {"latency_us", json_of(line.latency)},
                              {"loaded_latency_us", json_of(line.loaded)},
                              {"bytes_per_s", line.bytes_rate},
                              {"peak_bytes_per_s", line.peak},
                              {"operations_per_s", line.rate},
                              {"cpu_s_per_gib", line.cpu_seconds_per_gib}});
  return all.dump(2);
}

}  // namespace shoal::perf
