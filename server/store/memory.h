#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "core/memory/device.h"
#include "core/memory/device_memory.h"
#include "server/store/exporter.h"

// Where rows, sums and landing bytes live. What tables need goes through one budget, in large
// aligned chunks that the kernel can back with huge pages. See docs/design/snapshots.md.

namespace shoal {

/// Bytes that a server may spend on tables, in two ledgers: what was promised to them (`take`), and
/// what there is (`hold`), which also has memory that tables of the past left behind. Neither is
/// more than the limit. Belongs to one loop.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::uint64_t limit) : limit_(limit) {}

  /// Errc::no_memory, naming what was asked for, if it does not fit.
  Status take(std::uint64_t bytes, const char* what);
  void give(std::uint64_t bytes);
  bool fits(std::uint64_t bytes) const { return bytes <= limit_ - used_; }
  std::uint64_t used() const { return used_; }
  std::uint64_t limit() const { return limit_; }

  /// Memory that was promised becomes real, or ends. Beyond the limit what nobody uses goes first.
  void hold(std::uint64_t bytes);
  void release(std::uint64_t bytes);
  std::uint64_t held() const { return held_; }
  /// `reclaim` releases at least so many bytes, or all that nobody uses.
  void on_full(std::function<void(std::uint64_t)> reclaim) { reclaim_ = std::move(reclaim); }

 private:
  std::uint64_t limit_;
  std::uint64_t used_ = 0;
  std::uint64_t held_ = 0;
  std::function<void(std::uint64_t)> reclaim_;
};

/// The values (or states, or sums) of one segment: the unit that is pinned and copied on write.
/// `pins` counts readers (sends under way); the memory outlives its segment's move to a copy until
/// the last pin is gone.
struct SegmentMemory {
  std::byte* data = nullptr;
  struct SegmentChunk* chunk = nullptr;
  std::uint32_t pins = 0;
  bool owned = false;  ///< By a segment; false while only pins keep it.
  bool real = false;   ///< Counted as held: was handed out, and its pages not given back since.
};

/// Hands out SegmentMemory of equal sizes carved from chunks of a Device. Freed memory is used
/// again for the same size, and stays held: who copies on write, or sums once a clock, comes back
/// for it. When the budget is full it goes back to the Device, whole chunks or single pages, for
/// other sizes. Addresses of SegmentMemory are stable while it is owned or pinned. Takes nothing
/// from the budget: its owners do, for what they hold.
class SegmentPool {
 public:
  /// Both must outlive the pool.
  SegmentPool(Device& device, MemoryBudget& budget);
  ~SegmentPool();
  SegmentPool(const SegmentPool&) = delete;
  SegmentPool& operator=(const SegmentPool&) = delete;

  /// What memory of `bytes` takes: of a page or more, whole pages; of less, whole cache lines.
  static std::size_t block_bytes(std::size_t bytes);

  /// Memory of at least `bytes` of unspecified content, aligned to a cache line; of a page or more,
  /// to a page. Errors: no_memory.
  Result<SegmentMemory*> take(std::size_t bytes);
  /// The owner's end. Memory that is still pinned is reused when its last pin goes.
  void give(SegmentMemory* memory);
  static void pin(SegmentMemory& memory) { ++memory.pins; }
  /// True: it was the last pin of memory that its segment had left: a copy is free again.
  bool unpin(SegmentMemory& memory);
  /// Gives back the chunks of which nothing is in use: a table has gone.
  void trim();

  /// Peers READ segments by it from now on; outlives the pool. Before the first expose().
  void set_exporter(Exporter& exporter) { exporter_ = &exporter; }
  Exporter* exporter() const { return exporter_; }
  /// Where peers can READ the memory, whose chunk is exposed for good at the first call: true in
  /// `registered`, as that may take milliseconds. What failed is not tried again.
  ExportedPlace expose(const SegmentMemory& memory, bool& registered);

  Device& device() { return device_; }
  MemoryBudget& budget() { return budget_; }

 private:
  struct SizeClass {
    std::size_t bytes = 0;
    std::size_t mapped = 0;  ///< of all its chunks
    std::size_t blocks = 0;
    std::vector<SegmentMemory*> real;    ///< free
    std::vector<SegmentMemory*> unreal;  ///< free, the next to be used last
  };
  Result<std::uint16_t> class_of(std::size_t bytes);
  Status grow(std::uint16_t size_class);
  void put_back(SegmentMemory& memory);
  void reclaim(std::uint64_t bytes);
  void drop_chunk(std::size_t index);
  std::uint64_t discard_free(SegmentChunk& chunk);

  Device& device_;
  MemoryBudget& budget_;
  std::vector<SizeClass> classes_;
  std::vector<std::unique_ptr<SegmentChunk>> chunks_;
  Exporter* exporter_ = nullptr;
  std::size_t hand_ = 0;  ///< where reclaim() goes on: what is in use again and again is passed by
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
