#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/base/assert.h"

namespace shoal {

/// One exported segment as a one-sided reader sees it: 64 bytes, so that one READ fetches it whole.
/// Protocol of a reader (a seqlock; Boehm, "Can seqlocks get along with programming language memory
/// models?", MSPC'12): read the entry, give up if `version` is odd, read the bytes at `address`,
/// read the entry again: the bytes are one version's if nothing changed.
struct alignas(64) DirectoryEntry {
  std::atomic<std::uint64_t> version{0};  ///< Odd while a write, a copy or a move is under way.
  std::atomic<std::uint64_t> address{0};  ///< 0: not in memory.
  std::atomic<std::uint64_t> key{0};      ///< Of the registered region; 0 until it is exported.
  std::atomic<std::uint64_t> bytes{0};
  std::uint64_t reserved[4] = {};
};
static_assert(sizeof(DirectoryEntry) == 64);

/// The entries of one slot's segments, in their order. The owner brackets every change of a
/// segment's bytes or place with a Change. See docs/design/snapshots.md, "The directory".
class SegmentDirectory {
 public:
  explicit SegmentDirectory(std::size_t segments)
      : entries_(std::make_unique<DirectoryEntry[]>(segments)), count_(segments) {}

  std::span<const DirectoryEntry> entries() const { return {entries_.get(), count_}; }

  /// A change of a segment's bytes or place begins: its version becomes odd. Changes of one segment
  /// do not nest.
  void begin(std::size_t segment) {
    auto& version = entries_[segment].version;
    const auto now = version.load(std::memory_order_relaxed);
    SHOAL_ASSERT(now % 2 == 0, "changes of one segment nest");
    version.store(now + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  void end(std::size_t segment) {
    auto& version = entries_[segment].version;
    version.store(version.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  /// Within a change: where the segment lies from now on.
  void place(std::size_t segment, const std::byte* data, std::size_t bytes) {
    entries_[segment].address.store(reinterpret_cast<std::uintptr_t>(data),
                                    std::memory_order_relaxed);
    entries_[segment].bytes.store(bytes, std::memory_order_relaxed);
  }

  /// A change of one segment, for the length of a scope.
  class Change {
   public:
    Change(SegmentDirectory& directory, std::size_t segment)
        : directory_(directory), segment_(segment) {
      directory_.begin(segment_);
    }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;
    ~Change() { directory_.end(segment_); }

   private:
    SegmentDirectory& directory_;
    std::size_t segment_;
  };

 private:
  std::unique_ptr<DirectoryEntry[]> entries_;
  std::size_t count_;
};

}  // namespace shoal
