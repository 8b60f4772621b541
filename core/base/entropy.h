#pragma once

#include <cstdint>

namespace shoal {

/// 64 unpredictable bits from the kernel: incarnations, seeds of jitter. Not for the simulation.
std::uint64_t entropy();

}  // namespace shoal
