#include "core/table/key_signature.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace shoal {

KeySignature signature_of(std::span<const Key> keys) {
  const auto hash = XXH3_128bits(keys.data(), keys.size_bytes());
  return {hash.low64, hash.high64};
}

}  // namespace shoal
