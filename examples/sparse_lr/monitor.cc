#include "examples/sparse_lr/monitor.h"

#include <algorithm>
#include <array>

namespace shoal::sparse_lr {
namespace {

// How the files are cut for a look.
constexpr std::size_t kLookRows = 4096;
constexpr std::size_t kLookEntries = std::size_t{1} << 20;

}  // namespace

Result<Monitor> Monitor::create(const Job& job, Share share, Worker& worker, Table<float>& weights,
                                const Clock& clock) {
  SHOAL_ASSIGN(auto team, Team::open(worker, share));
  Monitor monitor(job, worker, weights, clock, std::move(team));
  if (monitor.is_chief()) SHOAL_TRY(monitor.open_files());
  return monitor;
}

Status Monitor::open_files() {
  const LineRules rules{.classes = job_->summary.classes};
  const BatchSource::Options batches{.rows_max = kLookRows,
                                     .entries_max = kLookEntries,
                                     .memory_bytes = job_->options.memory_bytes()};
  SHOAL_ASSIGN(auto train, LibsvmReader::open(job_->options.train, rules));
  train_.emplace(std::move(train), batches);
  if (job_->options.test.empty()) return {};
  SHOAL_ASSIGN(auto test, LibsvmReader::open(job_->options.test, rules));
  test_.emplace(std::move(test), batches);
  return {};
}

void Monitor::start() {
  started_ = clock_->now();
  progress_.start(started_);
}

double Monitor::elapsed() const {
  return std::chrono::duration<double>(clock_->now() - started_).count();
}

/// `seconds`: since start().
ProgressState Monitor::state(double seconds) const {
  const auto sums = team_.sums();
  ProgressState state{.epoch = epoch_,
                      .epochs = job_->options.epochs,
                      .examples_per_second = sums.examples / std::max(seconds, 1e-9),
                      .staleness_seen = lag_,
                      .bytes = static_cast<std::uint64_t>(sums.bytes)};
  if (!points_.empty()) state.objective = points_.back().objective;
  return state;
}

Result<PullInfo> Monitor::wait(Ticket& ticket) {
  const auto began = clock_->now();
  auto done = ticket.wait();
  waited_ += std::chrono::duration<double>(clock_->now() - began).count();
  return done;
}

Status Monitor::step(std::uint64_t examples, double epoch, WorkerClock oldest) {
  epoch_ = epoch;
  lag_ = std::max<std::int64_t>(0, worker_->clock().value - oldest.value);
  team_.add_examples(examples);
  team_.set_time(elapsed(), waited_);
  const auto now = clock_->now();
  SHOAL_TRY(team_.update(now));
  if (chief_ && progress_.is_due(now)) progress_.update(state(elapsed()), now);
  return {};
}

Status Monitor::epoch_ended(std::uint32_t epoch) {
  const auto& options = job_->options;
  // The last look comes when all workers are done.
  if (epoch % options.evaluate_every != 0 || epoch == options.epochs) return {};
  if (!chief_) return team_.tell();
  return look(epoch);
}

/// What was done until then, and the model as it is now: its traffic counts for the next.
Status Monitor::look(double epoch) {
  epoch_ = epoch;
  SHOAL_TRY(team_.ask());
  CurvePoint point{.epoch = epoch, .seconds = elapsed()};
  auto shown = state(point.seconds);
  point.bytes = shown.bytes;
  WeightSums weights;
  SHOAL_TRY(view_.for_each(job_->summary.index_max,
                           [&](std::span<const float> piece) { weights.add(piece); }));
  SHOAL_ASSIGN(const auto train, view_.evaluate(*train_));
  point.objective = train.loss + weights.penalty(job_->options.penalty);
  point.non_zeros = weights.non_zeros();
  if (test_) {
    SHOAL_ASSIGN(const auto test, view_.evaluate(*test_));
    point.auc = test.auc;
    point.accuracy = test.accuracy;
  }
  points_.push_back(point);
  shown.objective = point.objective;
  progress_.looked(shown, clock_->now());
  return {};
}

/// Ticks with the others until all that live have made their passes: each pull waits until they are
/// near enough, and who stood still would stop them. Then so far that a pull holds every push there
/// was.
Status Monitor::outlast_others() {
  const std::array<Key, 1> key{0};
  std::array<float, 1> weight{};
  for (;;) {
    SHOAL_TRY(team_.ask());
    if (team_.sums().finished >= worker_->worker_count()) break;
    SHOAL_ASSIGN([[maybe_unused]] const auto info,
                 table_->pull(key, std::span<float>(weight)).wait());
    worker_->tick();
  }
  for (std::uint32_t i = 0; i <= job_->options.staleness; ++i) worker_->tick();
  return {};
}

Status Monitor::finish() {
  SHOAL_TRY(worker_->flush());
  SHOAL_TRY(team_.finish());
  SHOAL_TRY(outlast_others());
  const bool was_chief = chief_;
  chief_ = team_.sums().writer == team_.share().index;
  if (!chief_) return worker_->leave();
  if (!was_chief) SHOAL_TRY(open_files());
  SHOAL_TRY(look(job_->options.epochs));
  progress_.finish();
  return {};
}

}  // namespace shoal::sparse_lr
