#include "cuda/pinned_device.h"

#include <algorithm>
#include <utility>

#include "core/base/assert.h"

namespace shoal {

Result<MemoryView> PinnedDevice::allocate(std::size_t bytes, AllocateOptions) {
  SHOAL_ASSIGN(auto memory, PinnedMemory::create(gpu_, bytes));
  allocations_.push_back(std::move(memory));
  return allocations_.back().view();
}

void PinnedDevice::deallocate(MemoryView memory) {
  const auto count = std::erase_if(
      allocations_, [&](const PinnedMemory& own) { return own.view().data == memory.data; });
  SHOAL_ASSERT(count == 1, "pinned memory of another device, or freed twice");
}

}  // namespace shoal
