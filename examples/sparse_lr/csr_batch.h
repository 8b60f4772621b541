#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/ids.h"

namespace shoal::sparse_lr {

/// Labelled sparse examples, row after row (compressed sparse rows). Reused from batch to batch:
/// once it has held its largest batch, clear() and the appends allocate nothing.
struct CsrBatch {
  std::vector<float> labels;            ///< +1 or -1, one a row
  std::vector<std::uint32_t> row_ends;  ///< row r's entries end here and begin where r - 1 ends
  std::vector<Key> keys;                ///< libsvm index - 1, ascending in a row
  std::vector<float> values;            ///< not 0

  std::size_t row_count() const { return labels.size(); }
  std::size_t entry_count() const { return keys.size(); }
  bool empty() const { return labels.empty(); }
  std::size_t row_begin(std::size_t row) const { return row == 0 ? 0 : row_ends[row - 1]; }

  void clear() {
    labels.clear();
    row_ends.clear();
    keys.clear();
    values.clear();
  }
};

/// The same examples with keys replaced by columns 0..column_count-1. Borrows; row_ends as above.
struct RowsView {
  std::span<const float> labels;
  std::span<const std::uint32_t> row_ends;
  std::span<const std::uint32_t> columns;
  std::span<const float> values;
  std::size_t column_count = 0;
};

}  // namespace shoal::sparse_lr
