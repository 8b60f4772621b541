#pragma once

#include <memory>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "group/gpu.h"

namespace shoal::local {

/// Copies between memory of a member's GPU and any memory of the host, and returns when it is done.
class DeviceCopy {
 public:
  /// `gpu` may be null: then only host memory is copied.
  DeviceCopy(GroupGpu* gpu, const Clock& clock) : gpu_(gpu), clock_(clock) {}

  /// Equal lengths. Errors: invalid_argument (memory of a GPU, and the member has none), no_memory,
  /// io, timed_out.
  Status copy(MemoryView to, ConstMemoryView from, TimePoint deadline);

 private:
  Status await(Result<DeviceEvent> event, TimePoint deadline);

  GroupGpu* gpu_;
  const Clock& clock_;
  std::unique_ptr<PinnedPiece> pinned_;  ///< made at the first copy of pageable memory
};

}  // namespace shoal::local
