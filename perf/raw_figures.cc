#include "perf/raw_figures.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "perf/perftest.h"

namespace shoal::perf {

namespace {

constexpr std::uint64_t kLatencyRuns = 20'000;
constexpr std::uint64_t kBytesMoved = std::uint64_t{1} << 30;

std::uint64_t runs_of(std::size_t bytes) {
  return std::clamp<std::uint64_t>(kBytesMoved / bytes, 50, 20'000);
}

/// The word behind `before` in a path's explanation, up to a space or a sign; empty: it is not
/// there.
std::string word_after(std::string_view path, std::string_view before) {
  const auto at = path.find(before);
  if (at == path.npos) return {};
  const auto rest = path.substr(at + before.size());
  return std::string(rest.substr(0, rest.find_first_of(" ,();")));
}

/// Whether an operation is READs by whoever asks for it, and no message.
bool reads(Op op) { return op == Op::read || op == Op::onesided; }

/// Whether its bytes come by a READ of the other's memory.
bool fetches(Op op) { return reads(op) || op == Op::push; }

Tool over_ucx(const char* test, std::size_t bytes, std::uint64_t runs) {
  auto tool = ucx_perftest(test, bytes, runs);
  // As our own links, unless the user says otherwise.
  if (std::getenv("UCX_TLS") == nullptr)
    tool.environment = {{"UCX_TLS", "^tcp,sysv,cma,knem,xpmem"}};
  return tool;
}

/// "verbs rxe0 port 1 (RoCE v2 10.77.0.1, GID index 1, ...".
Tool over_verbs(const char* program, const std::string& path, std::size_t bytes,
                std::uint64_t runs) {
  const PerftestPort port{word_after(path, "verbs "), word_after(path, " port "),
                          word_after(path, "GID index ")};
  return perftest(program, bytes, runs, port);
}

std::string command_of(const Tool& tool) {
  std::string text;
  for (const auto& [name, value] : tool.environment) text += fmt::format("{}={} ", name, value);
  return fmt::format("{}{} {}", text, tool.program, fmt::join(tool.arguments, " "));
}

std::string figure_of(const RawRun& run, const Clock& clock) {
  const auto printed = tool_figure(run.tool, run.column + 1, run.column, clock);
  if (!printed.ok()) return printed.error().message();
  const auto number = *printed * run.unit;
  const auto text = [&] {
    switch (run.figure) {
      case RawRun::Figure::one_way:
        return fmt::format("{:.2f} usec, half of there and back", number);
      case RawRun::Figure::round_trip:
        return fmt::format("{:.2f} usec", number);
      case RawRun::Figure::bandwidth:
        break;
    }
    return fmt::format("{:.0f} MiB/sec", number / kBytesPerMiB);
  }();
  return fmt::format("{}: {}", command_of(run.tool), text);
}

}  // namespace

std::vector<RawRun> raw_runs(const std::vector<Line>& lines) {
  using Figure = RawRun::Figure;
  std::vector<RawRun> runs;
  const auto over = [&](const char* fabric, bool fetched) {
    std::vector<const Line*> found;
    for (const auto& line : lines)
      if (line.path.starts_with(fabric) && fetches(line.op) == fetched) found.push_back(&line);
    std::stable_sort(found.begin(), found.end(),
                     [](const Line* a, const Line* b) { return a->bytes < b->bytes; });
    return found;
  };
  for (const bool fetched : {false, true}) {
    if (const auto found = over("ucx ", fetched); !found.empty()) {
      const auto small = found.front()->bytes, large = found.back()->bytes;
      if (runs.empty())
        runs.push_back({over_ucx("ucp_am_lat", small, kLatencyRuns), Figure::one_way, 1, 1});
      runs.push_back({over_ucx(fetched ? "ucp_get" : "ucp_put_bw", large, runs_of(large)),
                      Figure::bandwidth, 5, kBytesPerMiB});
    }
    if (const auto found = over("verbs ", fetched); !found.empty()) {
      const auto small = found.front()->bytes, large = found.back()->bytes;
      const auto& first = *found.front();
      if (reads(first.op))
        runs.push_back(
            {over_verbs("ib_read_lat", first.path, small, 1'000), Figure::round_trip, 4, 1});
      else if (runs.empty())
        runs.push_back(
            {over_verbs("ib_send_lat", first.path, small, 1'000), Figure::one_way, 4, 1});
      runs.push_back({over_verbs(fetched ? "ib_read_bw" : "ib_write_bw", found.back()->path, large,
                                 std::min<std::uint64_t>(runs_of(large), 1'000)),
                      Figure::bandwidth, 3, kBytesPerMiB});
    }
  }
  return runs;
}

std::vector<std::string> raw_figures(const std::vector<Line>& lines, bool local,
                                     const Clock& clock) {
  std::vector<std::string> texts;
  for (const auto& run : raw_runs(lines)) {
    texts.push_back(local ? figure_of(run, clock)
                          : fmt::format("to compare: '{}' there, and here the same with its host",
                                        command_of(run.tool)));
  }
  return texts;
}

}  // namespace shoal::perf
