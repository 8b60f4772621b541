// The shares of any text file, plain or gzip: each ends, and together they are the file's lines.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/assert.h"
#include "examples/sparse_lr/line_source.h"
#include "tests/fuzz/memory_file.h"

namespace {

using namespace shoal;
using namespace shoal::sparse_lr;

/// Appends the share's lines. False: the file is damaged.
bool read_share(const std::string& path, Share share, std::vector<std::string>& lines) {
  auto source = LineSource::open(path, share);
  if (!source.ok()) return false;
  for (std::string_view line;;) {
    const auto more = source->next(line);
    if (!more.ok()) return false;
    if (!*more) return true;
    SHOAL_ASSERT(line.find('\n') == line.npos, "a line is one line");
    lines.emplace_back(line);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile file(data, size);
  std::vector<std::string> whole, shared;
  const bool read = read_share(file.path(), {}, whole);
  bool all = true;
  for (std::uint32_t i = 0; i < 3; ++i) all &= read_share(file.path(), {i, 3}, shared);
  SHOAL_ASSERT(read || !all, "what is damaged is damaged for somebody");
  if (!read || !all) return 0;
  std::sort(whole.begin(), whole.end());
  std::sort(shared.begin(), shared.end());
  SHOAL_ASSERT(whole == shared, "every line belongs to one share");
  return 0;
}
