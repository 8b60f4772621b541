// The suite: scripts/bench.sh builds and runs it. See docs/performance.md.

#include <fmt/core.h>

#include <charconv>
#include <cstdio>
#include <fstream>
#include <optional>
#include <regex>
#include <string>
#include <string_view>

#include "core/base/log.h"
#include "core/base/output_path.h"
#include "perf/bench/row.h"
#include "perf/host.h"

namespace shoal::perf {
namespace {

constexpr const char* kUsage =
    "usage: shoal_bench [--only REGEX] [--json FILE] [--runs N] [--commit NAME] [--smoke] "
    "[--list]\n"
    "\n"
    "Runs the rows whose names REGEX matches, each N times (5) in turn with what does the same\n"
    "without Shoal, and prints medians.\n"
    "  --smoke   every row once, briefly, without a verdict: does it work?\n"
    "  --list    the rows and their goals\n";

struct Options {
  std::string only = ".*";
  std::string json;
  std::string commit;
  std::uint32_t runs = 5;
  bool smoke = false;
  bool list = false;
};

/// Empty: they are wrong.
std::optional<Options> parse(int argc, char** argv) {
  Options options;
  bool runs_given = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--smoke") {
      options.smoke = true;
    } else if (name == "--list") {
      options.list = true;
    } else if (i + 1 == argc) {
      return {};
    } else if (const std::string_view value = argv[++i]; name == "--only") {
      options.only = value;
    } else if (name == "--json") {
      options.json = value;
    } else if (name == "--commit") {
      options.commit = value;
    } else if (name == "--runs") {
      const auto* end = value.data() + value.size();
      const auto [rest, error] = std::from_chars(value.data(), end, options.runs);
      if (rest != end || error != std::errc() || options.runs == 0) return {};
      runs_given = true;
    } else {
      return {};
    }
  }
  if (options.smoke && !runs_given) options.runs = 1;
  return options;
}

int run(const Options& options, const std::vector<Row>& rows) {
  const SteadyClock clock;
  const Effort effort{clock, options.smoke};
  std::vector<Outcome> outcomes;
  int failed = 0;
  const auto load = system_load();
  if (!options.smoke && load.average > load.cores / 2.0)
    fmt::print(stderr,
               "shoal_bench: others are at work here (load average {:.1f} on {} cores): rows that "
               "spin need two idle cores, and no figure is to be trusted\n",
               load.average, load.cores);
  fmt::print("{}\n", table_head());
  for (const auto& row : rows) {
    std::fflush(stdout);
    const auto outcome = run_row(row, effort, options.runs);
    if (outcome.code() == Errc::unavailable) {
      fmt::print("{:<34} skipped: {}\n", row.name, outcome.error().message());
      continue;
    }
    if (!outcome.ok()) {
      fmt::print(stderr, "shoal_bench: {}: {}\n", row.name, outcome.error().message());
      ++failed;
      continue;
    }
    fmt::print("{}\n", table_line(*outcome, !options.smoke));
    outcomes.push_back(*outcome);
  }
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << json_of(outcomes, options.commit, !options.smoke) << "\n";
    if (!file.flush()) {
      fmt::print(stderr, "shoal_bench: cannot write {}\n", options.json);
      return 1;
    }
  }
  return failed == 0 ? 0 : 1;
}

int main(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (!options) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  auto rows = suite_rows();
  try {
    const std::regex only(options->only);
    std::erase_if(rows, [&](const Row& row) { return !std::regex_search(row.name, only); });
  } catch (const std::regex_error& error) {
    fmt::print(stderr, "shoal_bench: --only {}: {}\n", options->only, error.what());
    return 2;
  }
  if (rows.empty()) {
    fmt::print(stderr, "shoal_bench: no row matches '{}'; --list shows all\n", options->only);
    return 2;
  }
  if (options->list) {
    for (const auto& row : rows) fmt::print("{:<34} {}\n", row.name, row.goal.to_string());
    return 0;
  }
  if (!options->json.empty())
    if (const auto can = check_output(options->json); !can.ok()) {
      fmt::print(stderr, "shoal_bench: {}\n", can.error().message());
      return 2;
    }
  set_log_level(LogLevel::warn);
  return run(*options, rows);
}

}  // namespace
}  // namespace shoal::perf

int main(int argc, char** argv) { return shoal::perf::main(argc, argv); }
