#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "examples/sparse_lr/csr_batch.h"
#include "examples/sparse_lr/logistic.h"

namespace shoal::sparse_lr {

/// The objective of `weights` (by key) on `data`, computed the plain way.
inline double plain_objective(const CsrBatch& data, const std::vector<float>& weights, double l1) {
  double total = 0;
  for (std::size_t row = 0; row < data.row_count(); ++row) {
    double margin = 0;
    for (auto i = data.row_begin(row); i < data.row_ends[row]; ++i)
      margin += double{weights[data.keys[i]]} * double{data.values[i]};
    total += std::log1p(std::exp(-double{data.labels[row]} * margin));
  }
  for (const float w : weights) total += l1 * std::abs(double{w});
  return total;
}

/// A number that no weights' objective is below: the dual of L1-regularised logistic regression at
/// the error chances of `weights`, scaled until they are feasible (Koh, Kim, Boyd, "An
/// interior-point method for large-scale l1-regularized logistic regression", JMLR 2007,
/// section 2.3). It proves a result near the optimum without another solver.
inline double objective_floor(const CsrBatch& data, const std::vector<float>& weights, double l1) {
  std::vector<double> chances(data.row_count());
  std::vector<double> gradient(weights.size());
  for (std::size_t row = 0; row < data.row_count(); ++row) {
    double margin = 0;
    for (auto i = data.row_begin(row); i < data.row_ends[row]; ++i)
      margin += double{weights[data.keys[i]]} * double{data.values[i]};
    chances[row] = error_chance(double{data.labels[row]} * margin);
    for (auto i = data.row_begin(row); i < data.row_ends[row]; ++i)
      gradient[data.keys[i]] += chances[row] * double{data.labels[row]} * double{data.values[i]};
  }
  double steepest = 0;
  for (const double g : gradient) steepest = std::max(steepest, std::abs(g));
  const double scale = std::min(1.0, l1 / steepest);
  double floor = 0;
  for (const double chance : chances) {
    const double a = scale * chance;
    if (a > 0 && a < 1) floor -= a * std::log(a) + (1 - a) * std::log(1 - a);
  }
  return floor;
}

}  // namespace shoal::sparse_lr
