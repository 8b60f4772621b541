#include <algorithm>
#include <array>

#include "examples/sparse_lr/batch_source.h"
#include "examples/sparse_lr/logistic.h"
#include "examples/sparse_lr/train.h"

namespace shoal::sparse_lr {
namespace {

/// A step's examples hold at most this many values, however large the batch.
constexpr std::size_t kBatchEntries = std::size_t{1} << 22;
/// Steps whose pushes may be under way: one computes, one is fetched, two are being sent.
constexpr std::size_t kSteps = 4;

/// FTRL sums gradients over all passes and holds them against l1 once, so in pass e its l1 is e
/// times the objective's: what it minimises is then e times the objective.
Ftrl ftrl_in_pass(const Options& options, std::uint32_t pass) {
  return {.alpha = options.alpha,
          .beta = options.beta,
          .l1 = options.penalty.l1 * pass,
          .l2 = options.penalty.l2 * pass};
}

/// One step's data, lent to a pull and then to a push.
struct Step {
  const Batch* batch = nullptr;
  Buffer<float> weights, gradient;
  std::vector<double> margins;
  std::uint32_t pass = 0;  ///< 1, 2, ...
  bool ends_pass = false;  ///< known once the step after it was read
  Ticket pull, push;       ///< last: they end before what they borrow
};

class Minibatches {
 public:
  Minibatches(const Job& job, Worker& worker, Table<float>& weights, Monitor& monitor,
              BatchSource batches, double share_examples)
      : job_(job),
        worker_(worker),
        table_(weights),
        monitor_(monitor),
        batches_(std::move(batches)),
        share_examples_(std::max(share_examples, 1.0)) {}

  Status run() {
    SHOAL_ASSIGN(bool more, read(steps_[0]));
    for (std::size_t i = 0; more; ++i) {
      auto& step = steps_[i % kSteps];
      auto& next = steps_[(i + 1) % kSteps];
      SHOAL_ASSIGN(more, read(next));
      if (more && !job_.options.synchronous) ask(next, 1);
      step.ends_pass = !more || next.pass != step.pass;
      SHOAL_TRY(take(step));
    }
    for (auto& step : steps_) SHOAL_TRY(end_push(step));
    return {};
  }

 private:
  Status end_push(Step& step) {
    if (!step.push.valid()) return {};
    auto done = monitor_.wait(step.push);
    step.push = {};
    if (!done.ok()) return std::move(done).error();
    return {};
  }

  /// Reads the next examples. False: all passes are over.
  Result<bool> read(Step& step) {
    SHOAL_TRY(end_push(step));
    SHOAL_ASSIGN(step.batch, batches_.next());
    if (step.batch == nullptr) {
      if (pass_ == job_.options.epochs) return false;
      ++pass_;
      SHOAL_TRY(batches_.rewind());
      SHOAL_ASSIGN(step.batch, batches_.next());
      if (step.batch == nullptr) return false;  // a share of a very short file
    }
    step.pass = pass_;
    const auto count = step.batch->keys.size();
    if (step.weights.size() < count) {
      SHOAL_ASSIGN(step.weights, worker_.allocate<float>(count + count / 4));
      SHOAL_ASSIGN(step.gradient, worker_.allocate<float>(count + count / 4));
    }
    return true;
  }

  /// Asks for the weights of a step, for use `ahead` ticks from now.
  void ask(Step& step, std::int64_t ahead) {
    const auto& keys = step.batch->keys;
    PullOptions options;
    options.ahead = ahead;
    if (!keys.empty()) step.pull = table_.pull(keys, {step.weights, 0, keys.size()}, options);
  }

  Status take(Step& step) {
    PullInfo info{worker_.clock(), worker_.clock()};
    const auto& keys = step.batch->keys;
    if (!step.pull.valid()) ask(step, 0);
    if (!keys.empty()) {
      SHOAL_ASSIGN(info, monitor_.wait(step.pull));
      step.pull = {};
      step.margins.resize(step.batch->row_count());
      const auto rows = step.batch->rows();
      compute_margins(rows, step.weights.span().first(keys.size()), step.margins);
      compute_gradient(rows, step.margins, step.gradient.span().first(keys.size()));
      step.push = table_.push(keys, {step.gradient, 0, keys.size()});
      if (job_.options.synchronous) SHOAL_TRY(end_push(step));
    }
    if (step.ends_pass) SHOAL_TRY(raise_penalty(step.pass));
    examples_of_pass_ += static_cast<double>(step.batch->row_count());
    const double epoch = std::min(examples_of_pass_ / share_examples_, 1.0) + step.pass - 1;
    SHOAL_TRY(monitor_.step(step.batch->row_count(), epoch, info.oldest));
    worker_.tick();
    if (!step.ends_pass) return {};
    examples_of_pass_ = 0;
    return monitor_.epoch_ended(step.pass);
  }

  /// The next pass's penalty, for everybody, by rank 0.
  Status raise_penalty(std::uint32_t pass) {
    if (!monitor_.is_chief() || pass == job_.options.epochs) return {};
    const auto rule = ftrl_in_pass(job_.options, pass + 1);
    // From the first round on that no server can have folded: other tables of the cluster may have
    // a larger staleness than ours, so only the scheduler knows it.
    if (rule.l1 > 0) SHOAL_TRY(table_.set_parameter("l1", rule.l1));
    if (rule.l2 > 0) SHOAL_TRY(table_.set_parameter("l2", rule.l2));
    return {};
  }

  const Job& job_;
  Worker& worker_;
  Table<float>& table_;
  Monitor& monitor_;
  BatchSource batches_;
  double share_examples_;  ///< about; the live line divides by it
  double examples_of_pass_ = 0;
  std::uint32_t pass_ = 1;
  std::array<Step, kSteps> steps_;
};

}  // namespace

TableSpec weights_spec(const Job& job) {
  const auto& options = job.options;
  TableSpec spec;
  spec.name = "sparse_lr.weights";
  spec.layout = Layout::sparse;
  spec.staleness = options.staleness;
  if (options.by_blocks()) {
    spec.apply = Apply::per_clock;
    spec.update = ProximalDiagonal{
        .step = 1.0 / (1 + options.staleness), .l1 = options.penalty.l1, .l2 = options.penalty.l2};
  } else {
    // In lockstep the gradients of a round are of the same weights: they are summed, and the rule
    // runs once. Otherwise each is applied as it comes.
    spec.apply = options.staleness == 0 ? Apply::per_clock : Apply::on_arrival;
    spec.update = ftrl_in_pass(options, 1);
  }
  return spec;
}

Status train_minibatches(const Job& job, Share share, Worker& worker, Table<float>& weights,
                         Monitor& monitor) {
  SHOAL_ASSIGN(auto reader,
               LibsvmReader::open(job.options.train, {.classes = job.summary.classes}, share));
  monitor.start();
  BatchSource batches(std::move(reader), {.rows_max = job.options.batch,
                                          .entries_max = kBatchEntries,
                                          .memory_bytes = job.options.memory_bytes(),
                                          .lent = kSteps});
  return Minibatches(job, worker, weights, monitor, std::move(batches),
                     static_cast<double>(job.summary.examples) / share.count)
      .run();
}

}  // namespace shoal::sparse_lr
