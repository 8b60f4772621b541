#pragma once

#include <cstdint>
#include <vector>

#include "core/memory/memory_view.h"
#include "transport/tcp/limits.h"
#include "transport/transport.h"

namespace shoal::tcp {

/// The memory that peers may touch. A region's wire name is its index and a generation; generations
/// start at a random number for each process, so that a name which another process (or this one,
/// before a restart) gave out means nothing here. Revoking is forgetting: every access looks its
/// region up anew before each system call, and no memory is touched outside of one.
class RegionTable {
 public:
  explicit RegionTable(std::uint64_t salt) : next_generation_(salt & kGenerationMask) {}

  /// The wire name. Errors: overloaded (kRegionsMax), registration (not host memory).
  Result<std::uint64_t> add(MemoryView memory, Access access);
  /// False if it is not (or no longer) there.
  bool remove(std::uint64_t region);
  /// The memory of `bytes` at `address`, or null if the region is gone, the span leaves it, or this
  /// access is not granted. Untrusted arguments.
  std::byte* find(std::uint64_t region, std::uint64_t address, std::uint64_t bytes,
                  Access access) const {
    const auto index = region & (kRegionsMax - 1);
    if (region == 0 || index >= slots_.size()) return nullptr;
    const auto& slot = slots_[index];
    if (slot.name != region || address > slot.memory.bytes || bytes > slot.memory.bytes - address)
      return nullptr;
    const auto wanted = static_cast<std::uint8_t>(access);
    if ((static_cast<std::uint8_t>(slot.access) & wanted) != wanted) return nullptr;
    return slot.memory.data + address;
  }
  std::size_t size() const { return slots_.size() - free_.size(); }

 private:
  static constexpr std::uint64_t kGenerationMask = ~std::uint64_t{0} >> kRegionIndexBits;
  struct Slot {
    std::uint64_t name = 0;  // 0: free
    MemoryView memory;
    Access access = Access::read;
  };
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::uint64_t next_generation_;
};

}  // namespace shoal::tcp
