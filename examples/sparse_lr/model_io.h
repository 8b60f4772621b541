#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "examples/sparse_lr/libsvm_line.h"
#include "examples/sparse_lr/output_file.h"

// LIBLINEAR's model format for two classes without bias, as `liblinear-train -s 6` writes it and
// `liblinear-predict` reads it:
//
//     solver_type L1R_LR
//     nr_class 2
//     label 1 -1          the class of positive margins first
//     nr_feature 3
//     bias -1
//     w
//     0.25                one weight a line, of index 1, 2, ...

namespace shoal::sparse_lr {

/// A model in memory. `weights[key]` is that of index key + 1; positive margins mean
/// classes.positive.
struct Model {
  Classes classes;
  std::vector<double> weights;
};

/// Reads a two-class model of any of LIBLINEAR's linear classifiers without bias term. A model
/// whose first label is the smaller one has its signs turned, so that `classes.positive` is the
/// larger label here as in FileSummary. Errors: io, invalid_argument with file:line and what was
/// expected.
Result<Model> read_model(const std::string& path);

/// Whether LIBLINEAR's format holds a model of so many features; `path` is for the message. Errors:
/// out_of_range (more than LIBLINEAR can count), invalid_argument (a label that is not a whole
/// number; the format has none).
Status check_model(const std::string& path, const Classes& classes, std::uint64_t features);

/// Writes a model piece by piece, so that it never lies in memory whole.
class ModelWriter {
 public:
  /// `features`: how many weights follow. Errors: those of check_model.
  static Result<ModelWriter> begin(OutputFile file, const Classes& classes, std::uint64_t features);
  /// The next weights in order of index.
  void add(std::span<const float> weights);
  /// Errors: io.
  Status commit();

 private:
  ModelWriter(OutputFile file, std::uint64_t features)
      : file_(std::move(file)), features_left_(features) {}

  OutputFile file_;
  std::uint64_t features_left_;
  std::string text_;
};

}  // namespace shoal::sparse_lr
