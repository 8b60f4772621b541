#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

#include "core/base/ids.h"

namespace shoal {

/// Names a list of keys by its contents: XXH3-128 of the keys as they stand in memory. Two
/// different lists with one name are not expected in the life of a cluster (2^-64 for 2^32 lists);
/// a name is no proof against somebody who looks for such lists, and peers are trusted with more.
struct KeySignature {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const KeySignature&, const KeySignature&) = default;
};
static_assert(sizeof(KeySignature) == 16 && std::has_unique_object_representations_v<KeySignature>);

/// Runs at the speed of memory.
KeySignature signature_of(std::span<const Key> keys);

}  // namespace shoal
