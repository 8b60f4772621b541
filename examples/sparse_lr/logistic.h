#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <span>

#include "examples/sparse_lr/csr_batch.h"

// The logistic loss. An example has a label y (+1 or -1) and a margin m = w . x; its loss is
// log(1 + exp(-y m)). No bias term, as LIBLINEAR without -B.

namespace shoal::sparse_lr {

/// log(1 + exp(-z)) for every finite z, without overflow and without loss of small results.
inline double logistic_loss(double z) {
  return std::log1p(std::exp(-std::abs(z))) + std::max(-z, 0.0);
}

/// The chance that the label is wrong, given z = y m: 1 / (1 + exp(z)).
template <std::floating_point T>
T error_chance(T z) {
  const T e = std::exp(-std::abs(z));
  return (z > 0 ? e : T(1)) / (1 + e);
}

/// The largest second derivative p (1 - p) of the loss at margins within `radius` of `margin`: 1/4
/// if 0 is among them, else its value at the nearest to 0. (Genkin, Lewis, Madigan, "Large-scale
/// Bayesian logistic regression for text categorization", Technometrics 2007, section 4.)
template <std::floating_point T>
T curvature_bound(T margin, T radius) {
  const T nearest = std::max(std::abs(margin) - radius, T(0));
  const T e = std::exp(-nearest);
  return e / ((1 + e) * (1 + e));
}

/// margins[r] = sum over row r's entries of weights[column] * value.
void compute_margins(const RowsView& rows, std::span<const float> weights,
                     std::span<double> margins);

/// gradient[column] = sum over rows of -y error_chance(y m) * value: the gradient of the rows'
/// total loss. `gradient` (column_count values) is overwritten. Returns the total loss.
double compute_gradient(const RowsView& rows, std::span<const double> margins,
                        std::span<float> gradient);

}  // namespace shoal::sparse_lr
