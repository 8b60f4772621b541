#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/memory/dma_buf.h"
#include "core/memory/memory_view.h"
#include "transport/verbs/rail.h"

// How memory comes to be registered with all ports of a process. See docs/design/registration.md.

namespace shoal::verbs {

enum class Paging : std::uint8_t {
  pinned,     ///< Its pages stay where they are; on demand only where they may not be locked.
  on_demand,  ///< The device asks the kernel for pages as it needs them.
};

/// One registration with each of `rails`, in their order. `access`: IBV_ACCESS_*. `exporter` may be
/// null: memory of a GPU cannot be registered then. Errors: registration (what to do about it).
Result<std::vector<MemoryRegion>> register_with(std::span<const std::unique_ptr<Rail>> rails,
                                                MemoryView memory, int access, Paging paging,
                                                DmaBufExporter* exporter);

/// Lets several threads fault in the pages of large memory, which takes most of the time of its
/// registration if nobody has touched it. A wish: where the kernel cannot, the device faults them
/// in, one after the other.
void populate(MemoryView memory, bool writable);

}  // namespace shoal::verbs
