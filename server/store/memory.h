#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/result.h"
#include "core/memory/device.h"
#include "core/memory/device_memory.h"

// Where rows, sums and landing bytes live: everything a server allocates for data goes through one
// budget, in large aligned chunks that the kernel can back with huge pages. See
// docs/design/snapshots.md.

namespace shoal {

/// Bytes that a server may spend on tables. Belongs to one loop.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::uint64_t limit) : limit_(limit) {}

  /// Errc::no_memory, naming what was asked for, if it does not fit.
  Status take(std::uint64_t bytes, const char* what);
  void give(std::uint64_t bytes);
  bool fits(std::uint64_t bytes) const { return bytes <= limit_ - used_; }
  std::uint64_t used() const { return used_; }
  std::uint64_t limit() const { return limit_; }

 private:
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
};

/// The values (or states, or sums) of one segment: the unit that is pinned and copied on write.
/// `pins` counts readers (sends under way); the memory outlives its segment's move to a copy until
/// the last pin is gone.
struct SegmentMemory {
  std::byte* data = nullptr;
  std::uint32_t pins = 0;
  std::uint16_t size_class = 0;
  bool owned = false;  ///< By a segment; false while only pins keep it.
};

/// Hands out SegmentMemory of equal sizes carved from chunks of a Device. Freed memory is reused
/// for the same size; a chunk is never split again. Addresses of SegmentMemory are stable. Does not
/// count: its owners take from the budget for what they hold.
class SegmentPool {
 public:
  explicit SegmentPool(Device& device) : device_(device) {}
  SegmentPool(const SegmentPool&) = delete;
  SegmentPool& operator=(const SegmentPool&) = delete;

  /// Memory of at least `bytes` of unspecified content, aligned to a page. Errors: no_memory.
  Result<SegmentMemory*> take(std::size_t bytes);
  /// The owner's end. Memory that is still pinned is reused when its last pin goes.
  void give(SegmentMemory* memory);
  static void pin(SegmentMemory& memory) { ++memory.pins; }
  /// True: it was the last pin of memory that its segment had left: a copy is free again.
  bool unpin(SegmentMemory& memory);

  Device& device() { return device_; }

 private:
  struct SizeClass {
    std::size_t bytes = 0;
    std::size_t chunk_bytes_next = 0;
    std::vector<SegmentMemory*> free;
  };
  struct Chunk {
    DeviceMemory buffer;
    std::unique_ptr<SegmentMemory[]> blocks;
  };
  Result<std::uint16_t> class_of(std::size_t bytes);
  Status grow(std::uint16_t size_class);

  Device& device_;
  std::vector<SizeClass> classes_;
  std::vector<Chunk> chunks_;
};

/// A fixed piece of host memory lent out in runs of 4 KiB granules, lowest first so that the same
/// cache lines are used again: landing buffers of READs, eager payloads that have to wait, gathered
/// answers. Full is nullptr; nothing is allocated after creation.
class Arena {
 public:
  static constexpr std::size_t kGranule = 4096;

  /// Errors: no_memory, invalid_argument.
  static Result<Arena> create(Device& device, std::size_t bytes);

  /// `bytes` > 0, or nullptr while no run of free granules is long enough.
  std::byte* take(std::size_t bytes);
  void give(const std::byte* data, std::size_t bytes);

  std::size_t capacity() const { return granules_ * kGranule; }
  std::size_t used() const { return used_ * kGranule; }

 private:
  Arena(DeviceMemory buffer, std::size_t granules)
      : buffer_(std::move(buffer)), granules_(granules), taken_((granules + 63) / 64) {}
  bool is_taken(std::size_t granule) const {
    return (taken_[granule / 64] >> (granule % 64) & 1) != 0;
  }
  void mark(std::size_t first, std::size_t count, bool taken);

  DeviceMemory buffer_;
  std::size_t granules_ = 0;
  std::size_t used_ = 0;
  std::vector<std::uint64_t> taken_;
};

}  // namespace shoal
