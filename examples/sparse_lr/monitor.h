#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "examples/sparse_lr/batch_source.h"
#include "examples/sparse_lr/curve.h"
#include "examples/sparse_lr/options.h"
#include "examples/sparse_lr/progress.h"
#include "examples/sparse_lr/team.h"
#include "examples/sparse_lr/weights_view.h"
#include "worker/worker.h"

namespace shoal::sparse_lr {

/// What all workers know before they train.
struct Job {
  Options options;
  FileSummary summary;  ///< of the training file
};

/// Watches the training of one worker. All of them tell what they did; rank 0 also shows the live
/// line and looks at the whole model now and then, reading both files from begin to end. Others are
/// held back by that no further than the table's staleness. If rank 0 is lost, nobody looks until
/// the end. Owner: the training thread.
class Monitor {
 public:
  /// `worker` and `weights` are borrowed. Errors: those of Team and of opening the files.
  static Result<Monitor> create(const Job& job, Share share, Worker& worker, Table<float>& weights,
                                const Clock& clock);

  /// The training begins.
  void start();
  /// Waits for a pull or push of the training, which counts as waiting.
  Result<PullInfo> wait(Ticket& ticket);
  /// A step is over: `examples` were used, the worker has made `epoch` passes, and the weights it
  /// used held all pushes below clock `oldest`.
  Status step(std::uint64_t examples, double epoch, WorkerClock oldest);
  /// A pass is over: all tell what they did; rank 0 looks at the model if it is time.
  Status epoch_ended(std::uint32_t epoch);
  /// Every worker calls it last. Returns when all that live have made their passes. The lowest of
  /// them looks at the final model; the others leave the roster.
  Status finish();

  /// Rank 0; after finish(): whose the results are to write.
  bool is_chief() const { return chief_; }
  /// One point for each look; the last is the final model's.
  const std::vector<CurvePoint>& points() const { return points_; }
  /// What all workers did, as of finish().
  TeamSums sums() const { return team_.sums(); }

 private:
  Monitor(const Job& job, Worker& worker, Table<float>& weights, const Clock& clock, Team team)
      : job_(&job),
        worker_(&worker),
        table_(&weights),
        clock_(&clock),
        team_(std::move(team)),
        chief_(team_.share().index == 0),
        view_(worker, weights),
        progress_(stderr, Progress::is_terminal(stderr)) {}
  Status open_files();
  Status outlast_others();
  Status look(double epoch);
  double elapsed() const;
  ProgressState state(double seconds) const;

  const Job* job_;
  Worker* worker_;
  Table<float>* table_;
  const Clock* clock_;
  Team team_;
  bool chief_;
  WeightsView view_;
  Progress progress_;
  std::optional<BatchSource> train_, test_;  ///< the chief: the whole files
  std::vector<CurvePoint> points_;
  TimePoint started_;
  double waited_ = 0;  ///< seconds
  double epoch_ = 0;
  std::int64_t lag_ = 0;  ///< of the last step, clocks
};

}  // namespace shoal::sparse_lr
