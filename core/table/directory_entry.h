#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal {

/// One exported segment as a one-sided reader has fetched it: one aligned line, so that a READ
/// fetches it whole. The owner makes `version` odd, changes the segment's bytes or place, and makes
/// it even again: who finds the same entry before and after it READ the bytes has those of one
/// version. See docs/design/one_sided.md.
struct alignas(64) DirectoryEntry {
  std::uint64_t version = 0;  ///< Odd while a write, a copy or a move is under way. Only rises.
  std::uint64_t address = 0;  ///< As RemoteSpan::address.
  std::uint64_t key = 0;      ///< As RemoteSpan::region; 0: it cannot be READ at present.
  std::uint64_t bytes = 0;
  std::uint64_t reserved[4] = {};

  bool stable() const { return version % 2 == 0; }
  friend bool operator==(const DirectoryEntry&, const DirectoryEntry&) = default;
};
static_assert(sizeof(DirectoryEntry) == 64 && offsetof(DirectoryEntry, version) == 0 &&
              offsetof(DirectoryEntry, address) == 8 && offsetof(DirectoryEntry, key) == 16 &&
              offsetof(DirectoryEntry, bytes) == 24);

}  // namespace shoal
