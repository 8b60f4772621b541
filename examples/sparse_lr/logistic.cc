#include "examples/sparse_lr/logistic.h"

#include "core/base/assert.h"

namespace shoal::sparse_lr {

void compute_margins(const RowsView& rows, std::span<const float> weights,
                     std::span<double> margins) {
  SHOAL_ASSERT(weights.size() == rows.column_count && margins.size() == rows.labels.size(),
               "a weight a column and a margin a row");
  std::size_t entry = 0;
  for (std::size_t row = 0; row < margins.size(); ++row) {
    double margin = 0;
    for (; entry < rows.row_ends[row]; ++entry)
      margin += double{weights[rows.columns[entry]]} * double{rows.values[entry]};
    margins[row] = margin;
  }
}

double compute_gradient(const RowsView& rows, std::span<const double> margins,
                        std::span<float> gradient) {
  SHOAL_ASSERT(gradient.size() == rows.column_count && margins.size() == rows.labels.size(),
               "a gradient a column and a margin a row");
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  double loss = 0;
  std::size_t entry = 0;
  for (std::size_t row = 0; row < margins.size(); ++row) {
    const double z = double{rows.labels[row]} * margins[row];
    loss += logistic_loss(z);
    const auto slope = -rows.labels[row] * static_cast<float>(error_chance(z));
    for (; entry < rows.row_ends[row]; ++entry)
      gradient[rows.columns[entry]] += slope * rows.values[entry];
  }
  return loss;
}

}  // namespace shoal::sparse_lr
