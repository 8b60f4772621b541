#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "examples/sparse_lr/batch_source.h"
#include "examples/sparse_lr/evaluation.h"
#include "worker/worker.h"

namespace shoal::sparse_lr {

/// Reads a table of weights piece by piece, so that a model of any size is judged and written in
/// constant memory. Owner: one thread.
class WeightsView {
 public:
  static constexpr std::size_t kPieceKeys = 1 << 16;

  /// Both are borrowed.
  WeightsView(Worker& worker, Table<float>& table) : worker_(worker), table_(table) {}

  /// Calls `take` with the weights of the keys 0 .. features-1, in pieces and in order. Errors:
  /// those of pulls.
  Status for_each(std::uint64_t features, const std::function<void(std::span<const float>)>& take);
  /// What Evaluator says of the weights on a pass of `examples`. Errors: the source's, those of
  /// pulls.
  Result<Evaluation> evaluate(BatchSource& examples);

 private:
  Result<std::span<const float>> pull(std::span<const Key> keys);

  Worker& worker_;
  Table<float>& table_;
  Buffer<float> weights_;
  std::vector<Key> keys_;
  std::vector<double> margins_;
};

}  // namespace shoal::sparse_lr
