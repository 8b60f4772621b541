#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "group/local/descriptor.h"

namespace shoal::local {

/// Between two looks at what no descriptor tells: an injected clock, and whether member 0 is there.
inline constexpr Duration kLookEvery = std::chrono::milliseconds(5);

struct Terms {
  std::string name;
  std::uint32_t rank = 0;
  std::uint32_t size = 1;
  std::size_t stage_bytes = 0;
  std::size_t page_bytes = 0;  ///< of shared memory in all: follows from the two before
};

/// What members of a group have in common.
struct Gathered {
  Descriptor memory;                  ///< of page_bytes, zeroed
  std::vector<Descriptor> processes;  ///< pidfd of each member; none where the system has none
};

/// Waits until all members of the group `terms.name` are there. Member 0 listens, makes the memory,
/// and hands it to the others. Errors: see open_group().
Result<Gathered> gather(const Terms& terms, const Clock& clock, TimePoint deadline);

}  // namespace shoal::local
