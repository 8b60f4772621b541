#pragma once

#include <atomic>
#include <cstdint>

#include "core/memory/memory_view.h"
#include "transport/attachment.h"
#include "transport/transport.h"

namespace shoal {

/// Memory that is registered once and used by many operations: behind Buffer and Registration. Made
/// by a user's thread; `region` belongs to the engine's loop; freed by the engine when nobody uses
/// it.
struct MemoryRecord {
  MemoryView memory;
  bool owned = false;     ///< `memory` is a HostDevice's and is given back with the record
  Region region;          ///< the loop's
  Attachment attachment;  ///< the loop's: for one-sided pulls into it
  bool attach_tried = false;
  std::atomic<std::uint32_t> uses{0};  ///< operations that were issued and have not ended
  std::atomic<std::uint32_t> gone{0};  ///< 1: revoked, and freed if owned (futex word)
  bool released = false;               ///< the loop's: the handle is gone
};

}  // namespace shoal
