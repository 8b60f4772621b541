#pragma once

#include <cstdint>

namespace shoal::test {

/// Heap allocations by this thread so far. Test programs count all of theirs.
std::uint64_t allocations();

}  // namespace shoal::test
