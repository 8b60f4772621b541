#pragma once

#include <cstdint>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "examples/sparse_lr/line_source.h"
#include "worker/worker.h"

namespace shoal::sparse_lr {

/// Which part of a worker's time went by in waiting for its pulls and pushes.
struct Waiting {
  std::uint32_t worker = 0;
  double share = 0;
};

/// What all workers did so far, together.
struct TeamSums {
  double examples = 0;
  double bytes = 0;            ///< pushed and pulled
  std::uint32_t finished = 0;  ///< workers that made all their passes
  std::uint32_t writer = 0;  ///< the lowest of those, if there is one: the results are its to write
  Waiting most, least;       ///< the workers that waited most and least
};

/// Gathers TeamSums in a small table with a row for each worker, in which it writes what it did.
/// Nobody waits for the others: the table is asynchronous. Owner: one thread.
class Team {
 public:
  static constexpr Duration kPeriod = std::chrono::milliseconds(100);

  /// Begins this worker's row anew: an earlier training may have left one. `worker` is borrowed.
  /// Errors: those of create_or_open and push.
  static Result<Team> open(Worker& worker, Share share);

  /// This worker trained on `examples` more.
  void add_examples(std::uint64_t examples) { own_.examples += static_cast<double>(examples); }
  /// It has been training for so many seconds, and waited in so many of them.
  void set_time(double seconds, double waited) {
    own_.seconds = seconds;
    own_.waited = waited;
  }
  /// Tells and asks, if a period has passed. Errors: those of push and pull.
  Status update(TimePoint now);
  /// Tells what this worker did, now, and waits until it has arrived.
  Status tell();
  /// This worker has made all its passes: tells so.
  Status finish();
  /// Asks what the others told, and waits for the answer.
  Status ask();
  /// This worker's part as of now, the others' as they last told and this one last asked.
  TeamSums sums() const;
  Share share() const { return share_; }

 private:
  struct Row {
    double examples, bytes, finished, seconds, waited;
  };
  static constexpr std::size_t kColumns = sizeof(Row) / sizeof(double);
  Team(Worker& worker, Share share, Table<double> table, Buffer<double> told, Buffer<double> heard);
  Row own() const;
  void send();
  void request();
  Status end(Ticket& ticket);

  Worker* worker_;
  Share share_;
  Table<double> table_;
  std::vector<Key> keys_;  ///< the workers' shares
  Buffer<double> told_;    ///< this worker's row
  Buffer<double> heard_;   ///< all rows, while an answer is under way
  std::vector<Row> rows_;  ///< as of the last answer
  Row own_{};              ///< without the bytes, which the worker counts
  TimePoint next_ = TimePoint::min();
  Ticket push_, pull_;
};

}  // namespace shoal::sparse_lr
