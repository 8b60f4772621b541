// Sparse logistic regression over Shoal: see README.md.

#include <signal.h>

#include <cstdio>
#include <optional>

#include "core/base/log.h"
#include "examples/sparse_lr/options.h"
#include "examples/sparse_lr/report.h"
#include "examples/sparse_lr/temporary_file.h"
#include "examples/sparse_lr/text.h"
#include "examples/sparse_lr/train.h"
#include "server/local_cluster.h"
#include "worker/worker.h"

namespace shoal::sparse_lr {
namespace {

constexpr int kFailed = 1;

/// Standard output: from the chief, after the training.
void print(const Job& job, const Report& report, const Written& written = {}) {
  std::printf("%s\n%s", job.options.evaluate.empty() ? "trained" : job.options.evaluate.c_str(),
              table_of(report).c_str());
  for (const auto& file : written.files)
    std::printf("  %-20s %s\n", file.what.c_str(), file.path.c_str());
  std::fflush(stdout);
}

void complain(const Error& error) {
  std::fprintf(stderr, "sparse_lr: %s\n", error.message().c_str());
}

/// What the results lack that another than worker 0 writes.
void tell_succession(const Job& job, Share share) {
  std::fprintf(stderr,
               "sparse_lr: worker 0 was lost, so worker %u writes the results: they tell of the "
               "final model only%s\n",
               share.index,
               job.options.by_blocks()
                   ? ""
                   : ", and its penalty was no longer raised with the passes once it was lost");
}

/// Trains as one worker of the cluster; the chief reports.
Status train(const Job& job, const Config& config) {
  const SteadyClock clock;
  SHOAL_ASSIGN(auto worker, Worker::connect(config));
  const Share share{worker.rank().value, worker.worker_count()};
  // Ahead of the first clock: it joined late. Others have shared out the examples, and would wait
  // for it where it waits for them.
  if (worker.clock() > WorkerClock(0) && share.count > 1) {
    SHOAL_TRY(worker.leave());
    return Error{Errc::invalid_argument,
                 "this worker joined a training that has begun, whose examples are shared out "
                 "already: start all workers together, each job in a cluster of its own (shoal "
                 "run does)"};
  }
  std::optional<Outputs> outputs;
  if (share.index == 0) {
    SHOAL_ASSIGN(auto opened, Outputs::open(job));
    outputs.emplace(std::move(opened));
  }
  SHOAL_ASSIGN(auto weights, worker.create_or_open<float>(weights_spec(job)));
  SHOAL_ASSIGN(auto monitor, Monitor::create(job, share, worker, weights, clock));
  SHOAL_TRY(worker.barrier());
  SHOAL_TRY(job.options.by_blocks() ? train_blocks(job, share, worker, weights, monitor)
                                    : train_minibatches(job, share, worker, weights, monitor));
  SHOAL_TRY(monitor.finish());
  if (!monitor.is_chief()) return {};
  if (share.index != 0) {
    tell_succession(job, share);
    SHOAL_ASSIGN(auto opened, Outputs::open(job));
    outputs.emplace(std::move(opened));
  }
  const auto written = outputs->write(job, worker, weights, monitor.points());
  print(job, {monitor.points().back(), share.count, monitor.sums()}, written);
  SHOAL_TRY(worker.leave());
  if (written.errors.empty()) return {};
  for (std::size_t i = 1; i < written.errors.size(); ++i) complain(written.errors[i]);
  return written.errors.front();
}

Status run(const Options& options) {
  if (options.evaluate.empty()) SHOAL_TRY(check_paths(options));
  SHOAL_ASSIGN(auto summary, summarise_file(options.train));
  const Job job{options, summary};
  if (!options.test.empty())  // said now, and not after the first pass
    SHOAL_TRY(check_examples(options.test, {.classes = summary.classes}));
  if (!options.evaluate.empty()) {
    SHOAL_ASSIGN(const auto report, judge_model(job));
    print(job, report);
    return {};
  }
  SHOAL_ASSIGN(const auto config, Config::from_env());
  SHOAL_ASSIGN(const auto level, parse_log_level(config.log_level));
  const bool alone = config.scheduler.empty();
  // A cluster of one's own has nothing to say unless something is wrong, or one asked.
  set_log_level(alone && !config.origins.contains("log_level") ? LogLevel::warn : level);
  if (!alone) return train(job, config);
  LocalCluster::Options local;
  local.servers = options.servers;
  local.config = config;
  SHOAL_ASSIGN(const auto cluster, LocalCluster::start(std::move(local)));
  return train(job, cluster.config());
}

}  // namespace
}  // namespace shoal::sparse_lr

int main(int argc, char** argv) {
  using namespace shoal::sparse_lr;
  const auto parsed = parse_options(argc, argv);
  if (const auto* code = std::get_if<int>(&parsed)) return *code;
  ::signal(SIGPIPE, SIG_IGN);  // an output whose reader went away is an error like others
  remove_temporary_files_on_signals();
  const auto status = run(std::get<Options>(parsed));
  if (status.ok()) return 0;
  complain(status.error());
  return kFailed;
}
