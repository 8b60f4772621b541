#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "transport/ucx/limits.h"

// Who may copy in memory that is shared with peers. See docs/design/ucx.md, "Shared pages".

namespace shoal::ucx {

/// One link's way into shared pages. Whoever copies into them, or reads them in place, is `inside`
/// meanwhile, and goes in only if it is `open` then; whoever closes it looks inside afterwards.
/// Both in sequential order, so that one of the two sees the other.
struct alignas(64) Turnstile {
  std::atomic<std::uint64_t> open{0};    ///< the owner's: the ticket that is good, 0: none
  std::atomic<std::uint64_t> inside{0};  ///< the peer's ticket while it is in
  std::atomic<std::uint64_t> offset{0};  ///< where it is: whole pages
  std::atomic<std::uint64_t> bytes{0};   ///< 0 unless somebody is inside
};

/// The first pages of the file that holds shared memory.
struct Gate {
  std::uint64_t cookie = 0;  ///< of this memory alone: a number of a file may be another's by now
  std::array<Turnstile, kLinksMax> turnstiles;  ///< by LinkCard::turnstile
};
inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kGateBytes = 2 * kPageBytes;
static_assert(sizeof(Gate) <= kGateBytes && std::atomic<std::uint64_t>::is_always_lock_free);

/// Good for one region and one link: neither name is ever used again.
inline std::uint64_t ticket_of(std::uint64_t region, std::uint64_t owner_secret) {
  const auto ticket = region ^ owner_secret;
  return ticket != 0 ? ticket : 1;
}

/// Where a peer on this host finds shared memory; behind the region's name in its card.
struct SharedCard {
  std::uint32_t process = 0;  ///< the owner's id,
  std::uint32_t file = 0;     ///< and its descriptor
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;  ///< of the region, behind the gate
  std::uint64_t bytes = 0;
};
static_assert(sizeof(SharedCard) == 32);

}  // namespace shoal::ucx
