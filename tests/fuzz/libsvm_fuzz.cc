// The libsvm parser on any bytes: it ends, reads nothing outside, and what it accepts is well
// formed.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/assert.h"
#include "examples/sparse_lr/libsvm_line.h"

namespace {

void check(const shoal::sparse_lr::CsrBatch& batch, std::uint64_t index_max) {
  SHOAL_ASSERT(batch.row_ends.size() == batch.row_count(), "an end a row");
  SHOAL_ASSERT(batch.keys.size() == batch.values.size(), "a value a key");
  SHOAL_ASSERT(batch.empty() ? batch.keys.empty() : batch.row_ends.back() == batch.keys.size(),
               "the last row ends at the end");
  for (std::size_t row = 0; row < batch.row_count(); ++row) {
    SHOAL_ASSERT(batch.labels[row] == 1 || batch.labels[row] == -1, "labels are signs");
    for (auto i = batch.row_begin(row); i < batch.row_ends[row]; ++i) {
      SHOAL_ASSERT(batch.keys[i] < index_max, "indices are bounded");
      SHOAL_ASSERT(i == batch.row_begin(row) || batch.keys[i] > batch.keys[i - 1], "keys ascend");
      SHOAL_ASSERT(std::isfinite(batch.values[i]) && batch.values[i] != 0, "values count");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal::sparse_lr;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  LineRules rules;
  if (!text.empty() && text.front() % 2 == 1) rules = {.classes = {1, 2}, .index_max = 1000};
  CsrBatch batch;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    text = end == text.npos ? std::string_view{} : text.substr(end + 1);
    const auto rows_before = batch.row_count();
    const auto status = parse_line(line, rules, batch);
    SHOAL_ASSERT(status.ok() || batch.row_count() == rows_before, "an error adds nothing");
    // The summary reads less than the parser, so it accepts whatever the parser accepts.
    SHOAL_ASSERT(summarise_line(line).ok() || !status.ok(), "summary and parser agree");
  }
  check(batch, rules.index_max);
  return 0;
}
