#pragma once

#include <cstdint>

#include "core/base/result.h"
#include "core/memory/memory_view.h"

namespace shoal {

/// Memory of a device as a file that other devices' drivers can reach (the kernel's
/// Documentation/driver-api/dma-buf.rst).
struct DmaBuf {
  int fd = -1;               ///< whoever has the DmaBuf closes it
  std::uint64_t offset = 0;  ///< at which the memory begins in it
};

/// Who owns a device's memory, and can hand it to a transport: cuMemGetHandleForAddressRange() for
/// CUDA. Used on the transport's loop.
class DmaBufExporter {
 public:
  virtual ~DmaBufExporter() = default;
  /// `memory` is MemorySpace::cuda. Errors: unavailable (the driver exports none: what it lacks).
  virtual Result<DmaBuf> export_dma_buf(MemoryView memory) = 0;
};

}  // namespace shoal
