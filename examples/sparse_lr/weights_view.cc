#include "examples/sparse_lr/weights_view.h"

#include <algorithm>
#include <numeric>

#include "examples/sparse_lr/logistic.h"

namespace shoal::sparse_lr {

Result<std::span<const float>> WeightsView::pull(std::span<const Key> keys) {
  if (weights_.size() < keys.size()) {
    SHOAL_ASSIGN(weights_, worker_.allocate<float>(std::max(keys.size(), kPieceKeys)));
  }
  SHOAL_ASSIGN([[maybe_unused]] const auto info,
               table_.pull(keys, {weights_, 0, keys.size()}).wait());
  return std::span<const float>(weights_.span().first(keys.size()));
}

Status WeightsView::for_each(std::uint64_t features,
                             const std::function<void(std::span<const float>)>& take) {
  for (Key begin = 0; begin < features; begin += kPieceKeys) {
    keys_.resize(static_cast<std::size_t>(std::min<Key>(kPieceKeys, features - begin)));
    std::iota(keys_.begin(), keys_.end(), begin);
    SHOAL_ASSIGN(const auto weights, pull(keys_));
    take(weights);
  }
  return {};
}

Result<Evaluation> WeightsView::evaluate(LibsvmReader& reader) {
  Evaluator evaluator;
  SHOAL_TRY(reader.rewind());
  for (;;) {
    SHOAL_TRY(reader.read(batch_, kBatchRows, kBatchEntries));
    if (batch_.empty()) return evaluator.result();
    compactor_.compact(batch_.keys);
    SHOAL_ASSIGN(const auto weights, pull(compactor_.keys()));
    margins_.resize(batch_.row_count());
    compute_margins({batch_.labels, batch_.row_ends, compactor_.columns(), batch_.values,
                     compactor_.keys().size()},
                    weights, margins_);
    evaluator.add(batch_.labels, margins_);
  }
}

}  // namespace shoal::sparse_lr
