#include "transport/tcp/region_table.h"

#include <fmt/core.h>

namespace shoal::tcp {

Result<std::uint64_t> RegionTable::add(MemoryView memory, Access access) {
  if (memory.space == MemorySpace::cuda)
    return Error{Errc::registration,
                 "TCP moves host memory only: stage device memory through a pinned buffer"};
  if (free_.empty()) {
    if (slots_.size() == kRegionsMax)
      return Error{Errc::overloaded,
                   fmt::format("{} memory regions are registered already", kRegionsMax)};
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
    // So that remove() never allocates.
    free_.reserve(slots_.capacity());
  }
  const auto index = free_.back();
  free_.pop_back();
  // Never 0, which is 'no generation': a zeroed span names nothing.
  next_generation_ = (next_generation_ + 1) & kGenerationMask;
  if (next_generation_ == 0) next_generation_ = 1;
  auto& slot = slots_[index];
  slot = {(next_generation_ << kRegionIndexBits) | index, memory, access};
  return slot.name;
}

bool RegionTable::remove(std::uint64_t region) {
  const auto index = region & (kRegionsMax - 1);
  if (region == 0 || index >= slots_.size() || slots_[index].name != region) return false;
  slots_[index] = {};
  free_.push_back(static_cast<std::uint32_t>(index));
  return true;
}

}  // namespace shoal::tcp
