#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "core/base/result.h"
#include "examples/sparse_lr/csr_batch.h"

// One line of the libsvm format, as in README of LIBSVM and LIBLINEAR:
//
//     label index:value index:value ...   # comment
//
// Separators are blanks and tabs; a '\r' before the line's end is one. Indices begin at 1 and
// ascend (LIBLINEAR refuses other files too; sorting silently would hide a broken writer). Numbers
// are decimal and finite. Values of 0 are dropped, they change nothing.

namespace shoal::sparse_lr {

/// The two labels of a file; `positive` becomes +1.
struct Classes {
  double negative = -1;
  double positive = 1;
  friend bool operator==(const Classes&, const Classes&) = default;
};

/// The largest index that a model file can name: LIBLINEAR counts features in an int.
inline constexpr std::uint64_t kIndexMax = std::numeric_limits<std::int32_t>::max();

struct LineRules {
  Classes classes = {};
  std::uint64_t index_max = kIndexMax;
};

/// Appends the line's example to `batch`; nothing for a line without one (blank, comment). On an
/// error, whose text says what was expected (without file and line), `batch` is as before.
Status parse_line(std::string_view line, const LineRules& rules, CsrBatch& batch);

/// What a scan wants to know of a line without reading all of it.
struct LineSummary {
  bool has_example = false;
  double label = 0;
  std::uint64_t last_index = 0;  ///< the largest, if indices ascend; 0: no features
};
/// Reads the label and the last index only. Errors: as parse_line of those two.
Result<LineSummary> summarise_line(std::string_view line);

}  // namespace shoal::sparse_lr
