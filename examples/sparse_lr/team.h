#pragma once

#include <cstdint>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "worker/worker.h"

namespace shoal::sparse_lr {

/// What all workers did so far, together.
struct TeamSums {
  double examples = 0;
  double bytes = 0;  ///< pushed and pulled
};

/// Gathers TeamSums in a small table, to which every worker adds what it did since it last said so.
/// Nobody waits for it: the table is asynchronous, and so are the calls. Owner: one thread.
class Team {
 public:
  static constexpr Duration kPeriod = std::chrono::milliseconds(100);

  /// `worker` is borrowed. Errors: those of create_or_open.
  static Result<Team> open(Worker& worker);

  /// This worker trained on `examples` more.
  void add_examples(std::uint64_t examples) { own_examples_ += static_cast<double>(examples); }
  /// Tells and asks, if a period has passed. Errors: those of push and pull.
  Status update(TimePoint now);
  /// Tells the rest, now, and waits until it has arrived.
  Status tell_all();
  /// Asks, and waits for the answer.
  Status ask();
  /// As of the last answer.
  const TeamSums& sums() const { return sums_; }

 private:
  Team(Worker& worker, Table<double> table, Buffer<double> memory)
      : worker_(&worker), table_(std::move(table)), memory_(std::move(memory)) {}
  void tell();
  Status finish(Ticket& ticket);
  void take_answer() { sums_ = {memory_[2], memory_[3]}; }

  Worker* worker_;
  Table<double> table_;
  Buffer<double> memory_;  ///< two sums told, two answered
  double own_examples_ = 0;
  TeamSums told_, sums_;
  TimePoint next_ = TimePoint::min();
  Ticket push_, pull_;
};

}  // namespace shoal::sparse_lr
