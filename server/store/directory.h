#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/base/assert.h"
#include "core/memory/memory_view.h"
#include "core/table/directory_entry.h"
#include "server/store/exporter.h"

namespace shoal {

/// A DirectoryEntry as its owner writes it, while devices read it (a seqlock; Boehm, "Can seqlocks
/// get along with programming language memory models?", MSPC'12).
struct alignas(64) OwnEntry {
  std::atomic<std::uint64_t> version{0};
  std::atomic<std::uint64_t> address{0};
  std::atomic<std::uint64_t> key{0};
  std::atomic<std::uint64_t> bytes{0};
  std::uint64_t reserved[4] = {};
};
static_assert(sizeof(OwnEntry) == sizeof(DirectoryEntry));
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// The entries of one slot's segments, in their order. The owner brackets every change of a
/// segment's bytes or place with a Change. See docs/design/one_sided.md.
class SegmentDirectory {
 public:
  explicit SegmentDirectory(std::size_t segments)
      : entries_(std::make_unique<OwnEntry[]>(segments)), count_(segments) {}
  /// Nobody reads entries of freed memory.
  ~SegmentDirectory() {
    if (key_ != 0) exporter_->conceal(key_);
  }
  SegmentDirectory(const SegmentDirectory&) = delete;
  SegmentDirectory& operator=(const SegmentDirectory&) = delete;

  std::span<const OwnEntry> entries() const { return {entries_.get(), count_}; }

  /// Lets peers READ the entries by the key that it returns, until the end; 0: they cannot.
  /// `exporter` outlives the directory.
  std::uint64_t expose(Exporter& exporter) {
    if (key_ != 0 || count_ == 0) return key_;
    exporter_ = &exporter;
    key_ = exporter.expose({reinterpret_cast<std::byte*>(entries_.get()), byte_size()});
    return key_;
  }
  std::uint64_t key() const { return key_; }
  std::size_t byte_size() const { return count_ * sizeof(OwnEntry); }

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
  void place(std::size_t segment, const ExportedPlace& place, std::size_t bytes) {
    entries_[segment].address.store(place.address, std::memory_order_relaxed);
    entries_[segment].key.store(place.key, std::memory_order_relaxed);
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
  std::unique_ptr<OwnEntry[]> entries_;
  std::size_t count_;
  Exporter* exporter_ = nullptr;
  std::uint64_t key_ = 0;
};

}  // namespace shoal
