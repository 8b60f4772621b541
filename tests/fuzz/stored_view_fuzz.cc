// A scheduler's state file from untrusted bytes: what is accepted has only one encoding, and a
// scheduler can begin with it. The first byte says whether the checksum is made right before, so
// that what it protects is read, too.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "server/scheduler/membership.h"
#include "server/scheduler/view_store.h"

using namespace shoal;

namespace {

constexpr std::size_t kHeadBytes = 40;
constexpr std::size_t kChecksumAt = 8;

void seal(std::span<std::byte> bytes) {
  if (bytes.size() < kHeadBytes) return;
  std::uint64_t checksum = 0;
  std::memcpy(bytes.data() + kChecksumAt, &checksum, sizeof checksum);
  checksum = XXH3_64bits_withSeed(bytes.data() + kHeadBytes, bytes.size() - kHeadBytes,
                                  XXH3_64bits(bytes.data(), kHeadBytes));
  std::memcpy(bytes.data() + kChecksumAt, &checksum, sizeof checksum);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto given = std::as_bytes(std::span(data, size)).subspan(1);
  std::vector<std::byte> bytes(given.begin(), given.end());
  if (data[0] % 2 == 0) seal(bytes);
  const auto stored = decode_stored(bytes);
  if (!stored.ok()) return 0;
  if (encode_stored(*stored) != bytes) std::abort();
  Membership members({}, *stored, TimePoint{});
  members.poll(TimePoint{});
  if (!check(members.stamped().view).ok()) std::abort();
  return 0;
}
