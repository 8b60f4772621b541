// A multi-layer perceptron over Shoal, on a GPU or the host: see README.md.

#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/log.h"
#include "examples/mlp_cuda/options.h"
#include "examples/mlp_cuda/parameters.h"
#include "examples/mlp_cuda/report.h"
#include "examples/mlp_cuda/train.h"
#include "server/local_cluster.h"
#include "worker/worker.h"

namespace shoal::mlp {
namespace {

constexpr int kFailed = 1;

/// What all workers of this process share.
struct Job {
  Options options;
  Dataset data;
  std::vector<LayerShape> shapes;

  ParameterSpec parameters() const {
    return {shapes, options.rule(), options.training.seed, options.staleness};
  }
};

Watcher epoch_printer(const Job& job, std::uint32_t workers) {
  return [&job, workers](const Outcome& outcome) {
    std::fprintf(stderr, "%s\n", epoch_line(outcome, job.options.training.epochs, workers).c_str());
  };
}

void print(const Job& job, const Report& report) {
  std::fputs((job.options.json ? json_of(report) : table_of(report)).c_str(), stdout);
  std::fflush(stdout);
}

Status train_locally(const Job& job) {
  const SteadyClock clock;
  SHOAL_ASSIGN(const auto math, create_math(job.options.device));
  SHOAL_ASSIGN(const auto parameters, keep_locally(*math, job.parameters()));
  SHOAL_ASSIGN(const auto outcome, train(job.options.training, job.data, {}, *math, *parameters,
                                         job.shapes, clock, epoch_printer(job, 1)));
  print(job, {.device = std::string(math->name()), .outcome = outcome});
  return {};
}

/// Trains as one worker of the cluster; the first one reports.
Status train_as_worker(const Job& job, const Config& config) {
  const SteadyClock clock;
  SHOAL_ASSIGN(const auto math, create_math(job.options.device));
  SHOAL_ASSIGN(auto worker, Worker::connect(config));
  const Share share{worker.rank().value, worker.worker_count()};
  // Others have shared out the images, and would wait for it where it waits for them.
  if (worker.clock() > WorkerClock(0) && share.count > 1) {
    SHOAL_TRY(worker.leave());
    return Error{Errc::invalid_argument,
                 "this worker joined a training that has begun, whose images are shared out "
                 "already: start all workers together, each job in a cluster of its own (shoal "
                 "run does)"};
  }
  Overlap overlap;
  SHOAL_ASSIGN(const auto parameters,
               keep_in_shoal(*math, job.parameters(), worker, clock, overlap));
  SHOAL_ASSIGN(const auto outcome, train(job.options.training, job.data, share, *math, *parameters,
                                         job.shapes, clock, epoch_printer(job, share.count)));
  if (share.index == 0)
    print(job, {.device = std::string(math->name()),
                .workers = share.count,
                .outcome = outcome,
                .communication = Report::Communication{worker.traffic(), overlap}});
  return worker.leave();
}

/// A cluster inside the process, with a thread for each worker.
Status train_alone(const Job& job, const Config& config) {
  LocalCluster::Options local;
  local.servers = job.options.servers;
  local.workers = job.options.workers;
  local.config = config;
  SHOAL_ASSIGN(const auto cluster, LocalCluster::start(std::move(local)));
  std::vector<Status> ends(job.options.workers);
  std::vector<std::thread> threads;
  for (auto& end : ends)
    threads.emplace_back([&] { end = train_as_worker(job, cluster.config()); });
  for (auto& thread : threads) thread.join();
  for (const auto& end : ends) SHOAL_TRY(end);
  return {};
}

void keep_first(Images& images, std::size_t count) {
  if (count == 0 || count >= images.count()) return;
  images.classes.resize(count);
  images.values.resize(count * images.pixels);
}

Status run(const Options& options) {
  SHOAL_ASSIGN(const auto config, Config::from_env());
  SHOAL_ASSIGN(const auto level, parse_log_level(config.log_level));
  const bool alone = config.scheduler.empty();
  // A cluster of one's own has nothing to say unless something is wrong, or one asked.
  set_log_level(alone && !config.origins.contains("log_level") ? LogLevel::warn : level);
  if (!alone && options.workers > 1)
    return Error{Errc::invalid_argument,
                 "--workers is for a run without a cluster; in this one (SHOAL_SCHEDULER) each "
                 "process is a worker"};
  Job job{options, {}, {}};
  SHOAL_ASSIGN(job.data, load_dataset(options.data));
  keep_first(job.data.train, options.images);
  job.shapes = layer_shapes(job.data.train.pixels, options.hidden, kClasses);
  if (options.local) return train_locally(job);
  return alone ? train_alone(job, config) : train_as_worker(job, config);
}

}  // namespace
}  // namespace shoal::mlp

int main(int argc, char** argv) {
  using namespace shoal::mlp;
  const auto parsed = parse_options(argc, argv);
  if (const auto* code = std::get_if<int>(&parsed)) return *code;
  const auto status = run(std::get<Options>(parsed));
  if (status.ok()) return 0;
  std::fprintf(stderr, "mlp_cuda: %s\n", status.error().message().c_str());
  return kFailed;
}
