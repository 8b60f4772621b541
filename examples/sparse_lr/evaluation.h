#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "examples/sparse_lr/csr_batch.h"
#include "examples/sparse_lr/libsvm_reader.h"

// The one yardstick for every model, whoever trained it.

namespace shoal::sparse_lr {

/// What the objective adds to the loss: l1 |w| + l2/2 w^2. The whole objective is
///     sum_i log(1 + exp(-y_i w.x_i)) + l1 ||w||_1 + l2/2 ||w||^2,
/// so that LIBLINEAR's -s 6 -c C minimises it over l1 = 1/C, l2 = 0 (its own is C times as large).
struct Penalty {
  double l1 = 0;
  double l2 = 0;
};

/// Weights, summed over pieces of a model.
class WeightSums {
 public:
  void add(std::span<const float> weights);
  void add(std::span<const double> weights);
  double penalty(const Penalty& penalty) const {
    return penalty.l1 * l1_ + penalty.l2 * squares_ / 2;
  }
  std::uint64_t non_zeros() const { return non_zeros_; }

 private:
  double l1_ = 0;
  double squares_ = 0;
  std::uint64_t non_zeros_ = 0;
};

/// The area under the ROC curve: the chance that a positive example scores above a negative one,
/// ties counting half (Mann, Whitney 1947). Exact up to kExactMax examples; beyond, scores that
/// agree in their first 11 fraction bits count as ties, so that memory stays bounded (16 MiB).
class AucCounter {
 public:
  static constexpr std::size_t kExactMax = std::size_t{1} << 22;

  void add(double score, bool positive);
  /// None without an example of each class.
  std::optional<double> auc();

 private:
  struct Score {
    std::uint32_t order;  ///< the float's bits, so mapped that they order as the floats do
    bool positive;
  };
  struct Bucket {
    std::uint64_t counts[2] = {};
  };
  void pour_out();

  std::vector<Score> scores_;
  std::vector<Bucket> buckets_;  ///< empty while exact
};

/// How a model does on examples.
struct Evaluation {
  std::uint64_t examples = 0;
  double loss = 0;      ///< sum of log(1 + exp(-y m))
  double accuracy = 0;  ///< share of examples with y m > 0; m = 0 predicts the negative class
  std::optional<double> auc;
};

/// Gathers an Evaluation from margins.
class Evaluator {
 public:
  void add(std::span<const float> labels, std::span<const double> margins);
  Evaluation result();

 private:
  Evaluation sums_;
  std::uint64_t right_ = 0;
  AucCounter auc_;
};

/// Evaluates dense weights (weights[key], 0 beyond the end) on all that `reader` has, from its
/// begin.
Result<Evaluation> evaluate(LibsvmReader& reader, std::span<const double> weights);

}  // namespace shoal::sparse_lr
