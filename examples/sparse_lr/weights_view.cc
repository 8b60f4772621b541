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

Result<Evaluation> WeightsView::evaluate(BatchSource& examples) {
  Evaluator evaluator;
  SHOAL_TRY(examples.rewind());
  for (;;) {
    SHOAL_ASSIGN(const auto* batch, examples.next());
    if (batch == nullptr) return evaluator.result();
    SHOAL_ASSIGN(const auto weights, pull(batch->keys));
    margins_.resize(batch->row_count());
    compute_margins(batch->rows(), weights, margins_);
    evaluator.add(batch->labels, margins_);
  }
}

}  // namespace shoal::sparse_lr
