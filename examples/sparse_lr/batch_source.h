#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "core/base/ids.h"
#include "core/base/result.h"
#include "examples/sparse_lr/csr_batch.h"
#include "examples/sparse_lr/key_compactor.h"
#include "examples/sparse_lr/libsvm_reader.h"

namespace shoal::sparse_lr {

/// Examples as a step uses them: their distinct keys, ascending, and columns among those.
struct Batch {
  std::vector<float> labels;
  std::vector<std::uint32_t> row_ends;
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  std::vector<Key> keys;

  std::size_t row_count() const { return labels.size(); }
  RowsView rows() const { return {labels, row_ends, columns, values, keys.size()}; }
  std::size_t memory_bytes() const;
};

/// A share's examples in batches, pass after pass. The first pass reads them; the others find them
/// in memory if all of them fit there, and read again if not. Owner: one thread.
class BatchSource {
 public:
  struct Options {
    std::size_t rows_max = 1;             ///< of a batch
    std::size_t entries_max = SIZE_MAX;   ///< a batch ends once it has so many values
    std::size_t memory_bytes = SIZE_MAX;  ///< for the batches of a pass
    std::size_t lent = 1;                 ///< how many of the last batches stay as they are
  };
  BatchSource(LibsvmReader reader, const Options& options)
      : reader_(std::move(reader)), options_(options) {}

  /// The next batch of the pass; null at its end. It is valid until `lent` further ones were asked
  /// for. Errors: the reader's.
  Result<const Batch*> next();
  /// Begins a pass. Errors: the reader's.
  Status rewind();
  /// Whether a whole pass is in memory, so that the file is not read any more.
  bool kept() const { return kept_; }

 private:
  /// Makes `batch` from what was read.
  void fill(Batch& batch);
  Batch& place();
  void give_up();

  LibsvmReader reader_;
  Options options_;
  CsrBatch read_;
  KeyCompactor compactor_;
  std::deque<std::unique_ptr<Batch>> batches_;  ///< of the pass so far; else the last `lent`
  std::size_t bytes_ = 0;                       ///< of them, while they are to be kept
  bool fit_ = true;
  bool kept_ = false;
  std::size_t next_ = 0;  ///< of batches_, once they are kept
};

}  // namespace shoal::sparse_lr
