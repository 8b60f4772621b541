#pragma once

#include <cstdint>
#include <string>

#include "core/base/result.h"
#include "examples/sparse_lr/csr_batch.h"
#include "examples/sparse_lr/libsvm_line.h"
#include "examples/sparse_lr/line_source.h"

namespace shoal::sparse_lr {

/// What all workers must agree on before they read their shares.
struct FileSummary {
  Classes classes;  ///< the smaller label is the negative class
  std::uint64_t examples = 0;
  std::uint64_t index_max = 0;  ///< the largest feature index; 0 if there is none
};

/// Reads labels and last indices of the whole file in one pass with constant memory, far faster
/// than parsing it. What every worker finds is the same, so nobody needs to ask another. Errors:
/// those of LineSource; invalid_argument with file:line for bad labels and a third class, and for a
/// file without examples or with one class only.
Result<FileSummary> summarise_file(const std::string& path);

/// A share of a libsvm file in batches, in constant memory, as often as wanted.
class LibsvmReader {
 public:
  static Result<LibsvmReader> open(const std::string& path, const LineRules& rules,
                                   Share share = {});

  /// Replaces `batch` by the next examples: up to `rows_max` of them, fewer once `entries_max`
  /// values are reached. Empty at the end. Errors: "file:line: what was expected".
  Status read(CsrBatch& batch, std::size_t rows_max, std::size_t entries_max = SIZE_MAX);
  /// Back to the share's first example.
  Status rewind() { return lines_.rewind(); }
  const std::string& path() const { return lines_.path(); }

 private:
  LibsvmReader(LineSource lines, const LineRules& rules)
      : lines_(std::move(lines)), rules_(rules) {}

  LineSource lines_;
  LineRules rules_;
};

}  // namespace shoal::sparse_lr
