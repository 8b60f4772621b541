#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "core/base/result.h"
#include "core/memory/device.h"
#include "core/ops/row_kernels.h"

namespace shoal {

/// A piece of page-locked host memory, which its owner frees by destroying it.
class PinnedPiece {
 public:
  virtual ~PinnedPiece() = default;
  virtual MemoryView view() const = 0;
};

/// A member's GPU, as a group uses it: the device with its stream, its kernels, and host memory
/// that it reaches. Belongs to the member's thread, and outlives the group.
class GroupGpu {
 public:
  /// The GPU `ordinal` of those that this process sees, with a stream of its own. Errors:
  /// unavailable (no such GPU, no driver, or Shoal was built without GPUs: which).
  static Result<std::unique_ptr<GroupGpu>> open(std::uint16_t ordinal);

  virtual ~GroupGpu() = default;
  /// Where a member's gradients and parameters lie. Work in other streams that makes them must be
  /// done before a group is given them.
  virtual Device& device() = 0;
  virtual const RowKernels& kernels() const = 0;
  /// The same for nobody else on this node, whatever CUDA_VISIBLE_DEVICES leaves: "0000:1b:00.0".
  virtual std::string_view address() const = 0;
  /// `bytes` > 0 bytes of host memory. Errors: no_memory.
  virtual Result<std::unique_ptr<PinnedPiece>> pin(std::size_t bytes) = 0;
};

}  // namespace shoal
