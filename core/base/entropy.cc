#include "core/base/entropy.h"

#include <sys/random.h>

#include "core/base/assert.h"

namespace shoal {

std::uint64_t entropy() {
  std::uint64_t bits = 0;
  SHOAL_ASSERT(::getrandom(&bits, sizeof bits, 0) == sizeof bits, "the kernel gives no randomness");
  return bits;
}

}  // namespace shoal
