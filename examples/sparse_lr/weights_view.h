#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "examples/sparse_lr/csr_batch.h"
#include "examples/sparse_lr/evaluation.h"
#include "examples/sparse_lr/key_compactor.h"
#include "examples/sparse_lr/libsvm_reader.h"
#include "worker/worker.h"

namespace shoal::sparse_lr {

/// Reads a table of weights piece by piece, so that a model of any size is judged and written in
/// constant memory. Owner: one thread.
class WeightsView {
 public:
  static constexpr std::size_t kPieceKeys = 1 << 16;
  static constexpr std::size_t kBatchRows = 4096;
  static constexpr std::size_t kBatchEntries = 1 << 20;

  /// Both are borrowed.
  WeightsView(Worker& worker, Table<float>& table) : worker_(worker), table_(table) {}

  /// Calls `take` with the weights of the keys 0 .. features-1, in pieces and in order. Errors:
  /// those of pulls.
  Status for_each(std::uint64_t features, const std::function<void(std::span<const float>)>& take);
  /// What Evaluator says of the weights on all that `reader` has, from its begin. Errors: the
  /// reader's, those of pulls.
  Result<Evaluation> evaluate(LibsvmReader& reader);

 private:
  Result<std::span<const float>> pull(std::span<const Key> keys);

  Worker& worker_;
  Table<float>& table_;
  CsrBatch batch_;
  KeyCompactor compactor_;
  Buffer<float> weights_;
  std::vector<Key> keys_;
  std::vector<double> margins_;
};

}  // namespace shoal::sparse_lr
