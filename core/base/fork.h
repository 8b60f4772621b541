#pragma once

#include <cstdint>

namespace shoal {

/// How many times this process was forked off since somebody first asked. Another number than
/// before: this is a child, and none of the threads that ran before is here.
std::uint32_t fork_generation();

}  // namespace shoal
