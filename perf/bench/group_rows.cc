// Two workers: rounds that nobody passes alone.

#include <algorithm>

#include "perf/bench/sides.h"

namespace shoal::perf {

namespace {

constexpr std::uint32_t kWorkers = 2;
constexpr std::size_t kSmallRows = 2;
constexpr std::size_t kLargeBytes = 4u << 20;

/// The slower worker's: a round is over when all have it.
Result<double> slowest(const Result<std::vector<double>>& numbers) {
  if (!numbers.ok()) return numbers.error();
  return *std::max_element(numbers->begin(), numbers->end());
}

Result<double> raw_round_trip(const Effort& effort) {
  SHOAL_ASSIGN(const auto measured, run_raw({8, 8, 1, Wait::block}, effort));
  return measured.latency.p50 / kNsPerUs;
}

/// Microseconds of push, tick, pull under BSP.
Result<double> bsp_round(Worker& worker, const Effort& effort) {
  TableSpec spec{.name = "bench"};
  spec.rows = kSmallRows;
  SHOAL_ASSIGN(auto table, worker.create_or_open<float>(spec));
  SHOAL_ASSIGN(const auto gradient, worker.allocate<float>(kSmallRows));
  SHOAL_ASSIGN(const auto weights, worker.allocate<float>(kSmallRows));
  SHOAL_TRY(worker.barrier());
  Recorder recorder;
  Ticket push, pull;
  SHOAL_ASSIGN(const auto measured, run_window(
                                        effort.clock, effort.operations(2000), 1, 0, recorder,
                                        [&](std::uint64_t) -> Status {
                                          push = table.push({0, kSmallRows}, gradient);
                                          worker.tick();
                                          pull = table.pull({0, kSmallRows}, weights);
                                          return {};
                                        },
                                        [&](std::uint64_t) -> Status {
                                          if (const auto pushed = push.wait(); !pushed.ok())
                                            return pushed.error();
                                          if (const auto pulled = pull.wait(); !pulled.ok())
                                            return pulled.error();
                                          return {};
                                        }));
  return measured.latency.p50 / kNsPerUs;
}

/// One all-reduce after the other.
Result<Measured> all_reduce(Worker& worker, const Effort& effort, std::size_t rows,
                            std::uint64_t rounds) {
  TableSpec spec{.name = "bench"};
  spec.rows = rows;
  spec.apply = Apply::collective;
  SHOAL_ASSIGN(auto table, worker.create_or_open<float>(spec));
  SHOAL_ASSIGN(const auto gradient, worker.allocate<float>(rows));
  SHOAL_ASSIGN(const auto weights, worker.allocate<float>(rows));
  SHOAL_TRY(worker.barrier());
  Recorder recorder;
  Ticket ticket;
  return run_window(
      effort.clock, effort.operations(rounds), 1, rows * sizeof(float), recorder,
      [&](std::uint64_t) -> Status {
        ticket = table.push_pull({0, rows}, gradient, weights);
        return {};
      },
      [&](std::uint64_t) -> Status {
        if (const auto done = ticket.wait(); !done.ok()) return done.error();
        worker.tick();
        return {};
      });
}

}  // namespace

void add_group_rows(std::vector<Row>& rows) {
  rows.push_back({"tcp/round/8B", "us", Goal::ratio_at_most(5),
                  [](const Effort& effort) {
                    return slowest(run_cluster({.workers = kWorkers}, effort, bsp_round));
                  },
                  raw_round_trip});
  rows.push_back({"tcp/collective/8B", "us", Goal::ratio_at_most(2.5),
                  [](const Effort& effort) {
                    const auto body = [](Worker& worker, const Effort& e) -> Result<double> {
                      SHOAL_ASSIGN(const auto measured, all_reduce(worker, e, kSmallRows, 2000));
                      return measured.latency.p50 / kNsPerUs;
                    };
                    return slowest(run_cluster({.workers = kWorkers}, effort, body));
                  },
                  raw_round_trip});
  rows.push_back(
      {"tcp/collective/4MiB", "GB/s", Goal::ratio_at_least(0.7),
       [](const Effort& effort) -> Result<double> {
         // What the server takes in and gives out: each worker's bytes, both ways.
         const auto body = [](Worker& worker, const Effort& e) -> Result<double> {
           SHOAL_ASSIGN(const auto measured,
                        all_reduce(worker, e, kLargeBytes / sizeof(float), 100));
           return 2 * measured.bytes_rate / kGB;
         };
         SHOAL_ASSIGN(const auto numbers, run_cluster({.workers = kWorkers}, effort, body));
         double sum = 0;
         for (const auto number : numbers) sum += number;
         return sum;
       },
       [](const Effort& effort) -> Result<double> {
         SHOAL_ASSIGN(const auto measured,
                      run_raw({kLargeBytes, kWordBytes, default_inflight(kLargeBytes), Wait::block},
                              effort));
         return measured.bytes_rate / kGB;
       }});
}

}  // namespace shoal::perf
