// Over RDMA, beside the tools of perftest on the same port. scripts/bench_rdma.sh gives a machine
// without a device one in a guest.

#include <fmt/core.h>

#include "perf/bench/sides.h"
#include "perf/perf.h"
#include "perf/perftest.h"

namespace shoal::perf {

namespace {

/// Of the raw tool, and about what a run of ours takes on soft-RoCE.
constexpr std::uint64_t kSmallRuns = 500;
constexpr std::size_t kBandwidthBytes = std::size_t{16} << 20;

Config rdma_config() {
  Config config;
  config.transports = "verbs";
  config.require = Config::Require::rdma;
  config.rails = 1;  // as the tools
  return config;
}

Result<Tool> raw_tool(const char* program, std::size_t bytes, std::uint64_t runs) {
  auto tool = perftest(program, bytes, runs, rdma_config());
  if (tool.ok()) return tool;
  return Error{tool.code(),
               tool.error().what + "; scripts/bench_rdma.sh has a guest with a device"};
}

/// One operation of `shoal perf --local`.
Result<Line> measure_one(Op op, std::size_t bytes, Wait wait, const Effort& effort) {
  Plan plan;
  plan.ops = {op};
  plan.sizes = {bytes};
  plan.limits = effort.limits();
  plan.wait = wait;
  plan.told = false;
  SHOAL_ASSIGN(const auto lines,
               measure_locally(plan, rdma_config(), effort.clock, [](const Line&) {}));
  return lines.front();
}

Result<double> run_line(const std::string& name, Op op, std::size_t bytes, Wait wait,
                        const Effort& effort, double (*figure)(const Line&)) {
  return run_alone(name, [&]() -> Result<double> {
    SHOAL_ASSIGN(const auto line, measure_one(op, bytes, wait, effort));
    return figure(line);
  });
}

Result<double> raw_latency(const char* program, std::size_t bytes, const Effort& effort) {
  const auto runs = effort.smoke ? kSmallRuns / 25 : kSmallRuns;
  SHOAL_ASSIGN(const auto tool, raw_tool(program, bytes, runs));
  return perftest_typical_us(tool, effort.clock);
}

/// Both sides block, as spinning takes a small machine's cores from its network.
void add_bandwidth(std::vector<Row>& rows, Op op, std::size_t kib, const char* program, Goal goal) {
  const auto bytes = kib * kKiB;
  const auto name =
      fmt::format("verbs/{}/{}", name_of(op), kib < 1024 ? fmt::format("{}KiB", kib) : "1MiB");
  rows.push_back({name, "MB/s", goal,
                  [=](const Effort& effort) {
                    return run_line(name, op, bytes, Wait::block, effort,
                                    [](const Line& line) { return line.bytes_rate / 1e6; });
                  },
                  [=](const Effort& effort) -> Result<double> {
                    const auto runs = std::max<std::uint64_t>(kBandwidthBytes / bytes, 5);
                    SHOAL_ASSIGN(const auto tool,
                                 raw_tool(program, bytes, effort.smoke ? 5 : runs));
                    SHOAL_ASSIGN(const auto rate, perftest_bandwidth(tool, effort.clock));
                    return rate / 1e6;
                  }});
}

}  // namespace

void add_verbs_rows(std::vector<Row>& rows) {
  rows.push_back({"verbs/send/8B", "us", Goal::ratio_at_most(1.5),
                  [](const Effort& effort) {
                    // There and back.
                    return run_line(
                        "verbs/send/8B", Op::send, 8, Wait::spin, effort,
                        [](const Line& line) { return 2 * line.latency.p50 / kNsPerUs; });
                  },
                  [](const Effort& effort) -> Result<double> {
                    SHOAL_ASSIGN(const auto us, raw_latency("ib_send_lat", 8, effort));
                    return 2 * us;
                  }});
  rows.push_back(
      {"verbs/onesided/4KiB", "us", Goal::ratio_at_most(3.5),
       [](const Effort& effort) {
         return run_line("verbs/onesided/4KiB", Op::onesided, 4 * kKiB, Wait::spin, effort,
                         [](const Line& line) { return line.latency.p50 / kNsPerUs; });
       },
       [](const Effort& effort) { return raw_latency("ib_read_lat", 4 * kKiB, effort); }});
  for (const std::size_t kib : {64u, 1024u}) {
    add_bandwidth(rows, Op::write, kib, "ib_write_bw", Goal::ratio_at_least(0.9));
    add_bandwidth(rows, Op::read, kib, "ib_read_bw", {});
  }
}

}  // namespace shoal::perf
