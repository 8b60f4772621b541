// Eight bytes: what an operation costs when no bytes are to speak of.

#include <fmt/core.h>

#include <array>

#include "perf/bench/sides.h"
#include "perf/table_load.h"

namespace shoal::perf {

namespace {

using Progress = Config::Progress;

constexpr std::size_t kBytes = 8;
constexpr std::uint32_t kPipelined = 64;
constexpr std::size_t kLoadBytes = 4u << 20;
constexpr std::uint32_t kLoadInflight = 2;

Result<Measured> measure_table(Worker& worker, const Effort& effort, const TablePattern& pattern) {
  Recorder recorder;
  SHOAL_ASSIGN(auto load, TableLoad::create(worker, "bench", pattern));
  return load.run(effort.clock, effort.limits(), recorder);
}

Result<double> median_us(const Result<Measured>& measured) {
  if (!measured.ok()) return measured.error();
  return measured->latency.p50 / kNsPerUs;
}

void add_latency(std::vector<Row>& rows, TableOp op, Wait wait, Progress progress) {
  const ClusterSetup setup{wait, progress};
  const TablePattern pattern{op, kBytes, 1};
  // The goal holds for the caller-driven mode; the thread's price is shown beside it.
  const auto goal = progress == Progress::caller ? Goal::ratio_at_most(1.3) : Goal{};
  rows.push_back({fmt::format("tcp/{}/8B/p50/{}/{}", op == TableOp::push ? "push" : "pull",
                              name_of(wait), name_of(progress)),
                  "us", goal,
                  [=](const Effort& effort) {
                    return run_worker(setup, effort, [=](Worker& worker, const Effort& e) {
                      return median_us(measure_table(worker, e, pattern));
                    });
                  },
                  [=](const Effort& effort) {
                    return median_us(run_raw({kBytes, kBytes, 1, wait}, effort));
                  }});
}

/// Thousands of operations a second. The raw side once with a system call for each message, as the
/// simple program has it, and once with one for all that is ready.
void add_rate(std::vector<Row>& rows, bool batched) {
  const auto thousands = [](const Result<Measured>& measured) -> Result<double> {
    if (!measured.ok()) return measured.error();
    return measured->rate / 1e3;
  };
  rows.push_back(
      {batched ? "tcp/pull/8B/rate/raw_batched" : "tcp/pull/8B/rate", "kops/s",
       batched ? Goal{} : Goal::ratio_at_least(0.5),
       [=](const Effort& effort) {
         return run_worker({Wait::spin}, effort, [=](Worker& worker, const Effort& e) {
           return thousands(measure_table(worker, e, {TableOp::pull, kBytes, kPipelined}));
         });
       },
       [=](const Effort& effort) {
         return thousands(run_raw({kBytes, kBytes, kPipelined, Wait::spin, batched}, effort));
       }});
}

/// One small pull after the other while large pushes are always under way.
Result<double> pull_p99_beside_pushes(Worker& worker, const Effort& effort) {
  constexpr std::size_t kLoadRows = kLoadBytes / sizeof(float);
  TableSpec spec{.name = "load"};
  spec.rows = kLoadRows * kLoadInflight;
  spec.staleness = unbounded;
  SHOAL_ASSIGN(auto load, worker.create_or_open<float>(spec));
  spec.name = "small";
  spec.rows = kBytes / sizeof(float);
  SHOAL_ASSIGN(auto small, worker.create_or_open<float>(spec));
  SHOAL_ASSIGN(const auto gradient, worker.allocate<float>(kLoadRows));
  SHOAL_ASSIGN(const auto answer, worker.allocate<float>(spec.rows));

  std::array<Ticket, kLoadInflight> pushes;
  const auto limits = effort.limits();
  Recorder recorder;
  Meter meter(limits, effort.clock.now(), kBytes, recorder);
  while (!meter.over()) {
    for (std::size_t i = 0; i < pushes.size(); ++i) {
      if (pushes[i].valid()) {
        if (!pushes[i].ready()) continue;
        if (const auto pushed = pushes[i].wait(); !pushed.ok()) return pushed.error();
      }
      pushes[i] = load.push({i * kLoadRows, (i + 1) * kLoadRows}, gradient);
    }
    const auto issued = effort.clock.now();
    const auto pulled = small.pull({0, spec.rows}, answer).wait();
    if (!pulled.ok()) return pulled.error();
    meter.ended(issued, effort.clock.now());
  }
  SHOAL_TRY(worker.flush());
  return meter.result().latency.p99 / kNsPerUs;
}

void add_under_load(std::vector<Row>& rows) {
  rows.push_back({"tcp/pull/8B/p99_under_load", "us", Goal::ratio_at_most(3),
                  [](const Effort& effort) {
                    return run_worker({Wait::block}, effort, pull_p99_beside_pushes);
                  },
                  [](const Effort& effort) -> Result<double> {
                    SHOAL_ASSIGN(
                        const auto measured,
                        run_raw_beside({kBytes, kBytes, 1, Wait::block},
                                       {kLoadBytes, kBytes, kLoadInflight, Wait::block}, effort));
                    return measured.latency.p99 / kNsPerUs;
                  }});
}

}  // namespace

void add_small_rows(std::vector<Row>& rows) {
  for (const auto op : {TableOp::pull, TableOp::push})
    for (const auto wait : {Wait::spin, Wait::block})
      for (const auto progress : {Progress::caller, Progress::thread})
        add_latency(rows, op, wait, progress);
  add_rate(rows, false);
  add_rate(rows, true);
  add_under_load(rows);
}

}  // namespace shoal::perf
