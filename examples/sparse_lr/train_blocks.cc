#include <array>

#include "examples/sparse_lr/block_problem.h"
#include "examples/sparse_lr/train.h"

namespace shoal::sparse_lr {
namespace {

/// Pushes that may be under way: one computes, two are being sent.
constexpr std::size_t kPushes = 3;

class Blocks {
 public:
  Blocks(const Job& job, Worker& worker, Table<float>& weights, Monitor& monitor,
         BlockProblem problem)
      : job_(job),
        worker_(worker),
        table_(weights),
        monitor_(monitor),
        problem_(std::move(problem)) {}

  Status run() {
    for (auto& pull : pulls_) {
      SHOAL_ASSIGN(pull.weights, worker_.allocate<float>(problem_.block_keys_max()));
    }
    for (auto& push : pushes_) {
      SHOAL_ASSIGN(push.sums, worker_.allocate<float>(2 * problem_.block_keys_max()));
    }
    const auto blocks = problem_.schedule().blocks;
    const auto rounds = std::uint64_t{job_.options.epochs} * blocks;
    for (std::uint64_t round = 0; round < rounds; ++round) {
      SHOAL_TRY(take(round));
      if ((round + 1) % blocks == 0)
        SHOAL_TRY(monitor_.epoch_ended(static_cast<std::uint32_t>((round + 1) / blocks)));
    }
    for (auto& push : pushes_) SHOAL_TRY(end(push.ticket).status);
    // What was asked for the round that does not come.
    for (auto& pull : pulls_) SHOAL_TRY(end(pull.ticket).status);
    return {};
  }

 private:
  struct Pull {
    Buffer<float> weights;
    Ticket ticket;
  };
  struct Push {
    Buffer<float> sums;
    Ticket ticket;
  };
  struct Ended {
    Status status;
    std::optional<PullInfo> info;
  };
  Ended end(Ticket& ticket) {
    if (!ticket.valid()) return {};
    auto done = monitor_.wait(ticket);
    ticket = {};
    if (!done.ok()) return {std::move(done).error(), {}};
    return {{}, *done};
  }

  /// Asks for the weights that `round` fetches, for use `ahead` ticks from now.
  void fetch(std::uint64_t round, std::int64_t ahead) {
    if (!problem_.schedule().pulls_in(round)) return;
    const auto keys = problem_.keys(problem_.schedule().pulled_in(round));
    auto& pull = pulls_[round % pulls_.size()];
    PullOptions options;
    options.ahead = ahead;
    if (!keys.empty()) pull.ticket = table_.pull(keys, {pull.weights, 0, keys.size()}, options);
  }

  Status take(std::uint64_t round) {
    const auto& schedule = problem_.schedule();
    const auto rounds = std::uint64_t{job_.options.epochs} * schedule.blocks;
    if (job_.options.synchronous)
      fetch(round, 0);
    else if (round + 1 < rounds)
      fetch(round + 1, 1);  // while this one computes

    auto& pull = pulls_[round % pulls_.size()];
    const auto fetched = end(pull.ticket);
    SHOAL_TRY(fetched.status);
    if (fetched.info) {
      const auto block = schedule.pulled_in(round);
      SHOAL_TRY(
          problem_.set_weights(block, pull.weights.span().first(problem_.keys(block).size())));
    }
    const auto block = schedule.pushed_in(round);
    const auto keys = problem_.keys(block);
    auto& push = pushes_[round % pushes_.size()];
    SHOAL_TRY(end(push.ticket).status);
    if (!keys.empty()) {
      SHOAL_TRY(problem_.gradient(block, push.sums.span().first(2 * keys.size())));
      push.ticket = table_.push(keys, {push.sums, 0, 2 * keys.size()});
      if (job_.options.synchronous) SHOAL_TRY(end(push.ticket).status);
    }
    // A pass is `blocks` rounds over all examples; each round is shown as its part of them.
    const auto examples = problem_.example_count();
    const auto in_pass = round % schedule.blocks;
    const auto done =
        examples * (in_pass + 1) / schedule.blocks - examples * in_pass / schedule.blocks;
    SHOAL_TRY(monitor_.step(done, static_cast<double>(round + 1) / schedule.blocks,
                            fetched.info ? fetched.info->oldest : worker_.clock()));
    worker_.tick();
    return {};
  }

  const Job& job_;
  Worker& worker_;
  Table<float>& table_;
  Monitor& monitor_;
  BlockProblem problem_;  // before the tickets, which borrow its keys
  std::array<Pull, 2> pulls_;
  std::array<Push, kPushes> pushes_;
};

}  // namespace

Status train_blocks(const Job& job, Share share, Worker& worker, Table<float>& weights,
                    Monitor& monitor) {
  const auto& options = job.options;
  SHOAL_ASSIGN(auto reader,
               LibsvmReader::open(options.train, {.classes = job.summary.classes}, share));
  SHOAL_ASSIGN(auto problem,
               BlockProblem::build(
                   reader, {.schedule = {.blocks = options.blocks, .staleness = options.staleness},
                            .pages = {.directory = options.scratch,
                                      .memory_bytes = options.memory_bytes()}}));
  SHOAL_TRY(worker.barrier());
  monitor.start();
  return Blocks(job, worker, weights, monitor, std::move(problem)).run();
}

}  // namespace shoal::sparse_lr
