// `shoal perf`: words on the command line to a plan, lines of figures to a terminal.

#include "perf/perf.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/base/log.h"
#include "perf/peer.h"
#include "perf/raw_figures.h"
#include "server/cli/commands.h"

namespace shoal::cli {

namespace {

constexpr int kWrongUse = 2;

Result<perf::Plan> plan_of(const PerfArguments& arguments) {
  perf::Plan plan;
  plan.ops.clear();
  for (const auto& name : arguments.ops) {
    SHOAL_ASSIGN(const auto op, perf::parse_op(name));
    plan.ops.push_back(op);
  }
  for (const auto& text : arguments.sizes) {
    const auto bytes = parse_bytes(text);
    if (!bytes.ok())
      return Error{bytes.code(), fmt::format("--size {}: {}", text, bytes.error().what)};
    plan.sizes.push_back(*bytes);
  }
  if (arguments.all_sizes && !plan.sizes.empty())
    return Error{Errc::invalid_argument, "either --all or --size"};
  plan.all_sizes = arguments.all_sizes;
  plan.inflight = arguments.inflight;
  constexpr std::int64_t kIterationsMax = 1'000'000'000;
  if (arguments.iterations < 0 || arguments.iterations > kIterationsMax)
    return Error{Errc::invalid_argument,
                 fmt::format("--iterations {}: expected 1 to {}, or 0 for --duration",
                             arguments.iterations, kIterationsMax)};
  plan.limits.iterations = static_cast<std::uint64_t>(arguments.iterations);
  const auto duration = parse_duration(arguments.duration);
  if (!duration.ok() || *duration <= Duration::zero())
    return Error{Errc::invalid_argument,
                 fmt::format("--duration {}: expected a time above 0 with a unit, as 500ms",
                             arguments.duration)};
  plan.limits.duration = *duration;
  const auto wait = perf::parse_wait(arguments.wait);
  if (!wait.ok()) return Error{Errc::invalid_argument, fmt::format("--wait {}", wait.error().what)};
  plan.wait = *wait;
  plan.both_ways = arguments.bidirectional;
  plan.check = arguments.check;
  SHOAL_TRY(perf::validate(plan));
  return plan;
}

bool on_command_line(const Config& config, std::string_view option) {
  const auto origin = config.origins.find(option);
  return origin != config.origins.end() && origin->second == "command line";
}

int listen(const Config& config, const Clock& clock) {
  const auto peer = perf::Peer::create(config, clock);
  if (!peer.ok()) return fail("perf", peer.error());
  fmt::print(
      "shoal perf: listening at {}; on the other machine:\n  shoal perf {} --token-file {}\n",
      (*peer)->address().to_string(), (*peer)->address().to_string(), config.token_file);
  std::fflush(stdout);
  (*peer)->run(false);
  return 0;
}

}  // namespace

int run_perf(const Config& given, const PerfArguments& arguments) {
  auto config = given;
  const SteadyClock clock;
  const bool listens = on_command_line(config, "listen");
  if (int{listens} + int{arguments.local} + int{!arguments.peer.empty()} != 1) {
    fail("perf", {Errc::invalid_argument,
                  "one of three: --listen HOST:PORT (be measured), HOST:PORT (measure against "
                  "that), or --local (both here). --json takes no file: it prints"});
    return kWrongUse;
  }
  if (!arguments.transport.empty()) {
    config.transports = arguments.transport;
    if (const auto can = check_transports(config); !can.ok()) {
      fail("perf", {can.code(), "--transport: " + can.error().what});
      return kWrongUse;
    }
  }
  if (!config.origins.contains("log_level")) set_log_level(LogLevel::warn);
  if (listens) return listen(config, clock);
  if (!config.origins.contains("progress")) config.progress = Config::Progress::caller;

  const auto plan = plan_of(arguments);
  const auto peer = arguments.local ? Result<Address>(Address{}) : Address::parse(arguments.peer);
  if (!plan.ok() || !peer.ok()) {
    fail("perf", plan.ok() ? peer.error() : plan.error());
    return kWrongUse;
  }
  if (!arguments.plot.empty())
    if (const auto can = perf::check_drawing(arguments.plot); !can.ok())
      return fail("perf", can.error());
  const perf::Settings settings{config.transports, arguments.local ? "local" : arguments.peer,
                                plan->wait,        config.progress,
                                plan->both_ways,   plan->check};
  if (!config.trace.empty() && std::none_of(plan->ops.begin(), plan->ops.end(), perf::is_table_op))
    fmt::print(
        stderr,
        "shoal perf: --trace shows push, pull, push_pull and onesided; send, read and write leave "
        "nothing in it\n");
  if (!arguments.json) fmt::print("{}\n", perf::report_head(settings));
  std::string path;
  const auto show = [&](const perf::Line& line) {
    if (arguments.json) return;
    if (line.path != path) fmt::print("# {}\n", path = line.path);
    fmt::print("{}\n", perf::report_line(line));
    std::fflush(stdout);
  };
  std::fflush(stdout);  // before there is a second process with a copy of the buffer
  const auto lines = arguments.local ? perf::measure_locally(*plan, config, clock, show)
                                     : perf::measure(*plan, config, *peer, clock, show);
  if (!lines.ok()) return fail("perf", lines.error());
  if (const auto hint = perf::advice(settings, *lines); !hint.empty())
    fmt::print(stderr, "shoal perf: {}\n", hint);
  if (arguments.json) fmt::print("{}\n", perf::report_json(settings, *lines));
  std::fflush(stdout);
  if (!arguments.json)
    for (const auto& text : perf::raw_figures(*lines, arguments.local, clock))
      fmt::print("# {}\n", text);
  if (arguments.plot.empty()) return 0;
  const auto drawn =
      perf::draw(perf::plot_script(settings, *lines, arguments.plot), arguments.plot);
  return drawn.ok() ? 0 : fail("perf", drawn.error());
}

}  // namespace shoal::cli
