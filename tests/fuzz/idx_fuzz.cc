// Any bytes as an IDX file: what is accepted has as many values as its header says.

#include <cstddef>
#include <cstdint>

#include "core/base/assert.h"
#include "examples/mlp_cuda/idx.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const auto dimensions : {std::uint8_t{1}, std::uint8_t{3}}) {
    const auto idx = shoal::mlp::parse_idx({data, size}, dimensions);
    if (!idx.ok()) {
      SHOAL_ASSERT(!idx.error().what.empty(), "what was expected is said");
      continue;
    }
    SHOAL_ASSERT(idx->sizes.size() == dimensions, "a size for each dimension");
    std::size_t count = 1;
    for (const auto length : idx->sizes) count *= length;
    SHOAL_ASSERT(count == idx->values.size(), "as many values as the header says");
    SHOAL_ASSERT(size == 4 + 4 * std::size_t{dimensions} + count, "nothing is left");
  }
  return 0;
}
