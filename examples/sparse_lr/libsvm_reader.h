#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/base/result.h"
#include "examples/sparse_lr/csr_batch.h"
#include "examples/sparse_lr/libsvm_line.h"
#include "examples/sparse_lr/line_source.h"

namespace shoal::sparse_lr {

/// What one worker finds in its share. Plain numbers, so that it can travel through a table.
struct ShareSummary {
  std::uint32_t label_count = 0;  ///< distinct labels: 0, 1 or 2
  double labels[2] = {};          ///< the first label_count are set
  std::uint64_t examples = 0;
  std::uint64_t index_max = 0;  ///< the largest feature index; 0 if there is none
};

/// What all workers must agree on before they train.
struct FileSummary {
  Classes classes;  ///< the smaller label is the negative class
  std::uint64_t examples = 0;
  std::uint64_t share_examples_max = 0;  ///< of the largest share
  std::uint64_t index_max = 0;
};

/// Reads the labels and last indices of a share in one pass with constant memory, far faster than
/// parsing it. Errors: those of LineSource and check_gzip_end; invalid_argument with file:line for
/// bad labels and a third class.
Result<ShareSummary> summarise_share(const std::string& path, Share share = {});

/// What the shares of `path` come to. Errors: invalid_argument: no example at all, one class only,
/// more than two.
Result<FileSummary> merge_summaries(const std::string& path, std::span<const ShareSummary> shares);

/// Both for a file that one process reads alone.
Result<FileSummary> summarise_file(const std::string& path);

/// Whether `path` holds an example, for a file that is read only later. Errors: those of
/// LibsvmReader and check_gzip_end; invalid_argument: no example.
Status check_examples(const std::string& path, const LineRules& rules);

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
