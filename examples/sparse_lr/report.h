#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "examples/sparse_lr/curve.h"
#include "examples/sparse_lr/monitor.h"
#include "examples/sparse_lr/options.h"
#include "examples/sparse_lr/output_file.h"
#include "worker/worker.h"

namespace shoal::sparse_lr {

/// What the final table tells. Lines about what is not known are left out.
struct Report {
  CurvePoint model;
  double examples = 0;  ///< trained on, all passes; 0: nothing was trained
  double seconds = 0;
};

/// The table, a line each, ending with a newline.
std::string table_of(const Report& report);

/// Judges options.evaluate on the training and held-out files, by the measure that judges trained
/// models too. Errors: those of reading the three files.
Result<Report> judge_model(const Job& job);

/// The files that a run leaves, all of which are tried before it begins.
class Outputs {
 public:
  /// Errors: io, naming the path that cannot be written.
  static Result<Outputs> open(const Options& options);
  /// Writes model, table and picture. Errors: those of the first that failed; the others are
  /// written.
  Status write(const Job& job, Worker& worker, Table<float>& weights,
               const std::vector<CurvePoint>& points);

 private:
  Status write_model(const Job& job, Worker& worker, Table<float>& weights);

  std::optional<OutputFile> model_, csv_;
};

}  // namespace shoal::sparse_lr
