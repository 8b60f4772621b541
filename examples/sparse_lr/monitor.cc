#include "examples/sparse_lr/monitor.h"

#include <algorithm>
#include <array>

namespace shoal::sparse_lr {
namespace {

double seconds_of(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

Result<Monitor> Monitor::create(const Job& job, Worker& worker, Table<float>& weights,
                                const Clock& clock) {
  SHOAL_ASSIGN(auto team, Team::open(worker));
  Monitor monitor(job, worker, weights, clock, std::move(team));
  if (!monitor.is_chief()) return monitor;
  const LineRules rules{.classes = job.summary.classes};
  SHOAL_ASSIGN(monitor.train_, LibsvmReader::open(job.options.train, rules));
  if (!job.options.test.empty()) {
    SHOAL_ASSIGN(monitor.test_, LibsvmReader::open(job.options.test, rules));
  }
  return monitor;
}

ProgressState Monitor::state() const {
  const double elapsed = std::max(seconds_of(clock_->now() - started_), 1e-9);
  ProgressState state{.epoch = epoch_,
                      .epochs = job_->options.epochs,
                      .examples_per_second = team_.sums().examples / elapsed,
                      .staleness_seen = lag_,
                      .bytes = static_cast<std::uint64_t>(team_.sums().bytes)};
  if (!points_.empty()) state.objective = points_.back().objective;
  return state;
}

Status Monitor::step(std::uint64_t examples, double epoch, WorkerClock oldest) {
  epoch_ = epoch;
  lag_ = std::max<std::int64_t>(0, worker_->clock().value - oldest.value);
  team_.add_examples(examples);
  const auto now = clock_->now();
  SHOAL_TRY(team_.update(now));
  if (is_chief() && progress_.is_due(now)) progress_.update(state(), now);
  return {};
}

Status Monitor::epoch_ended(std::uint32_t epoch) {
  // The last look comes when all workers are done.
  if (!is_chief() || epoch % job_->options.evaluate_every != 0 || epoch == job_->options.epochs)
    return {};
  SHOAL_TRY(look(epoch));
  if (!Progress::is_terminal(stderr)) progress_.finish(state());
  return {};
}

Status Monitor::look(double epoch) {
  WeightSums weights;
  SHOAL_TRY(view_.for_each(job_->summary.index_max,
                           [&](std::span<const float> piece) { weights.add(piece); }));
  SHOAL_ASSIGN(const auto train, view_.evaluate(*train_));
  CurvePoint point{.epoch = epoch,
                   .seconds = seconds_of(clock_->now() - started_),
                   .objective = train.loss + weights.penalty(job_->options.penalty),
                   .non_zeros = weights.non_zeros()};
  if (test_) {
    SHOAL_ASSIGN(const auto test, view_.evaluate(*test_));
    point.auc = test.auc;
    point.accuracy = test.accuracy;
  }
  point.bytes = static_cast<std::uint64_t>(team_.sums().bytes);
  points_.push_back(point);
  return {};
}

/// Ticks with the others until none is left: each pull waits until they are near enough, and a
/// chief that stood still would stop them. Then so far that a pull holds every push there was.
Status Monitor::outlast_others() {
  const std::array<Key, 1> key{0};
  std::array<float, 1> weight{};
  while (worker_->worker_count() > 1) {
    SHOAL_ASSIGN([[maybe_unused]] const auto info,
                 table_->pull(key, std::span<float>(weight)).wait());
    worker_->tick();
  }
  for (std::uint32_t i = 0; i <= job_->options.staleness; ++i) worker_->tick();
  return {};
}

Status Monitor::finish() {
  SHOAL_TRY(worker_->flush());
  SHOAL_TRY(team_.tell_all());
  if (!is_chief()) return worker_->leave();
  SHOAL_TRY(outlast_others());
  SHOAL_TRY(team_.ask());
  SHOAL_TRY(look(job_->options.epochs));
  seconds_ = points_.back().seconds;
  epoch_ = job_->options.epochs;
  progress_.finish(state());
  return {};
}

}  // namespace shoal::sparse_lr
