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
  std::uint32_t workers = 1;  ///< that the examples were shared out to
  TeamSums team;              ///< examples of all passes; 0: nothing was trained
};

/// The table, a line each, ending with a newline.
std::string table_of(const Report& report);

/// Judges options.evaluate on the training and held-out files, by the measure that judges trained
/// models too. Errors: those of reading the three files.
Result<Report> judge_model(const Job& job);

/// What became of a run's files.
struct Written {
  struct File {
    std::string what, path;
  };
  std::vector<File> files;    ///< that are there, whole
  std::vector<Error> errors;  ///< one for each that is not where it was asked for
};

/// Refuses files to write that are the same as one to read, or as each other. Errors:
/// invalid_argument, naming both options.
Status check_paths(const Options& options);

/// The files that a run leaves, all of which are tried before it begins.
class Outputs {
 public:
  /// Errors: io, naming the path that cannot be written; those of check_model for a model that the
  /// format cannot hold.
  static Result<Outputs> open(const Job& job);
  /// Writes model, table and picture, each whatever becomes of the others. A model that cannot be
  /// written goes to the first of options.refuges that has room.
  Written write(const Job& job, Worker& worker, Table<float>& weights,
                const std::vector<CurvePoint>& points);

 private:
  std::optional<OutputFile> model_, csv_, curve_;
};

}  // namespace shoal::sparse_lr
