// Over UCX: in shared memory against UCX's own benchmark, over its TCP against ours.

#include <fmt/core.h>

#include "perf/bench/sides.h"
#include "perf/raw_tool.h"
#include "perf/table_load.h"

namespace shoal::perf {

namespace {

constexpr const char* kShared = "posix,self";

/// Of the raw tool: as long as a run of ours takes, about.
std::uint64_t iterations(const Effort& effort, std::uint64_t count) {
  return effort.smoke ? std::max<std::uint64_t>(count / 50, 10) : count;
}

Result<double> raw_bandwidth(const char* test, std::size_t bytes, const Effort& effort) {
  auto tool = ucx_perftest(test, bytes, iterations(effort, 4096 * kMiB / bytes));
  tool.environment = {{"UCX_TLS", kShared}};
  SHOAL_ASSIGN(const auto rate, ucx_bandwidth(tool, effort.clock));
  return rate / kGB;
}

/// `figure`: of what a run came to.
Result<double> run_load(const ClusterSetup& setup, const TablePattern& pattern,
                        const Effort& effort, double (*figure)(const Measured&)) {
  return run_worker(setup, effort, [&](Worker& worker, const Effort& e) -> Result<double> {
    Recorder recorder;
    SHOAL_ASSIGN(auto load, TableLoad::create(worker, "bench", pattern));
    SHOAL_ASSIGN(const auto measured, load.run(e.clock, e.limits(), recorder));
    return figure(measured);
  });
}

Result<double> median_us(const ClusterSetup& setup, const TablePattern& pattern,
                         const Effort& effort) {
  return run_load(setup, pattern, effort,
                  [](const Measured& measured) { return measured.latency.p50 / kNsPerUs; });
}

Result<double> bandwidth(const ClusterSetup& setup, const TablePattern& pattern,
                         const Effort& effort) {
  return run_load(setup, pattern, effort,
                  [](const Measured& measured) { return measured.bytes_rate / kGB; });
}

ClusterSetup over_ucx(const char* ways, Wait wait) {
  return {.wait = wait, .transports = "ucx", .ucx_tls = ways};
}

void add_shared_latency(std::vector<Row>& rows, TableOp op) {
  const bool pull = op == TableOp::pull;
  rows.push_back({fmt::format("ucx-shm/{}/8B/p50", pull ? "pull" : "push"), "us",
                  pull ? Goal::ratio_at_most(2.5) : Goal{},
                  [=](const Effort& effort) {
                    return median_us(over_ucx(kShared, Wait::spin), {op, 8, 1}, effort);
                  },
                  [](const Effort& effort) {
                    auto tool = ucx_perftest("ucp_am_lat", 8, iterations(effort, 400'000));
                    tool.environment = {{"UCX_TLS", kShared}};
                    return ucx_round_trip_us(tool, effort.clock);
                  }});
}

/// Both sides move the same bytes again and again.
void add_shared_stream(std::vector<Row>& rows, TableOp op, std::size_t mib, const char* test,
                       Goal goal) {
  const auto bytes = mib * kMiB;
  const TablePattern pattern{.op = op, .bytes = bytes, .inflight = 2, .ranges = 1};
  rows.push_back({fmt::format("ucx-shm/{}/{}MiB", op == TableOp::pull ? "pull" : "push", mib),
                  "GB/s", goal,
                  [=](const Effort& effort) {
                    return bandwidth(over_ucx(kShared, Wait::spin), pattern, effort);
                  },
                  [=](const Effort& effort) { return raw_bandwidth(test, bytes, effort); }});
}

/// The rows of tcp, with our own TCP as the raw side.
void add_tcp(std::vector<Row>& rows) {
  for (const auto op : {TableOp::pull, TableOp::push}) {
    const auto* name = op == TableOp::pull ? "pull" : "push";
    const auto add = [&](const std::string& what, const char* unit, auto&& side) {
      rows.push_back(
          {fmt::format("ucx-tcp/{}/{}", name, what),
           unit,
           {},
           [=](const Effort& effort) { return side(over_ucx("tcp", Wait::spin), effort); },
           [=](const Effort& effort) { return side(ClusterSetup{.wait = Wait::spin}, effort); }});
    };
    add("8B/p50", "us", [=](const ClusterSetup& setup, const Effort& effort) {
      return median_us(setup, {op, 8, 1}, effort);
    });
    for (const std::size_t mib : {1u, 4u, 64u})
      add(fmt::format("{}MiB", mib), "GB/s", [=](const ClusterSetup& setup, const Effort& effort) {
        return bandwidth(setup, {op, mib * kMiB, default_inflight(mib * kMiB)}, effort);
      });
  }
}

}  // namespace

void add_ucx_rows(std::vector<Row>& rows) {
  for (const auto op : {TableOp::pull, TableOp::push}) add_shared_latency(rows, op);
  for (const std::size_t mib : {1u, 4u}) {
    add_shared_stream(rows, TableOp::pull, mib, "ucp_put_bw", Goal::ratio_at_least(0.85));
    add_shared_stream(rows, TableOp::push, mib, "ucp_get",
                      mib == 4 ? Goal::ratio_at_least(0.5) : Goal{});
  }
  add_tcp(rows);
}

}  // namespace shoal::perf
