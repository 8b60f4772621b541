#pragma once

#include <cstdint>
#include <istream>

namespace shoal {

/// Where a shared object of this machine's kind has to end at the earliest: behind its headers and
/// behind what they say is in the file; the largest number if that is beyond all files. 0: it is no
/// such object, or its headers are cut off. See the System V ABI, "Object Files".
std::uint64_t object_bytes(std::istream& file);

}  // namespace shoal
