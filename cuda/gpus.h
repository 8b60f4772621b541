#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace shoal {

/// A GPU as CUDA shows it to this process.
struct Gpu {
  std::uint16_t ordinal = 0;  ///< among those that CUDA_VISIBLE_DEVICES leaves, as in "cuda:0"
  std::string name;
  std::uint32_t compute_major = 0;  ///< compute capability: 9.0 is Hopper
  std::uint32_t compute_minor = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t multiprocessors = 0;
  std::string pci_address;  ///< "0000:1b:00.0"
  int numa_node = -1;       ///< of the host memory that is nearest; -1: the system does not say
  /// Adapters can be given its memory as a dma-buf (cuMemGetHandleForAddressRange).
  bool exports_dma_buf = false;

  std::string compute_capability() const {
    return std::to_string(compute_major) + '.' + std::to_string(compute_minor);
  }
};

/// The GPUs that this process can use; at least one. Starts the driver, which may take seconds, but
/// makes no context on any of them. Errors: unavailable (no driver, too old a driver, no GPU, or
/// none that is visible: which, and what to do).
Result<std::vector<Gpu>> find_gpus();

}  // namespace shoal
