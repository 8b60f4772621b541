#pragma once

#include <driver_types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/device.h"

namespace shoal {

/// A GPU and one stream of it. Nothing here waits for the GPU, but for creation and the destructor.
/// An event is a number; CUDA's own are recorded when somebody asks for one that is not covered
/// yet, so that many operations share one.
class CudaDevice final : public Device {
 public:
  /// Errors: unavailable (no such GPU, or none at all: why), no_memory.
  static Result<std::unique_ptr<CudaDevice>> create(std::uint16_t ordinal);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  std::string_view name() const override { return name_; }
  MemorySpace space() const override { return MemorySpace::cuda; }
  std::uint16_t ordinal() const override { return ordinal_; }
  /// Makes the GPU the calling thread's, as a launch wants it.
  void* stream() const override;

  /// Whole allocations of CUDA's, which may take milliseconds: allocate chunks, ahead.
  Result<MemoryView> allocate(std::size_t bytes, AllocateOptions options) override;
  /// Freed by a later call, when the work before is done and nobody holds frees back.
  void deallocate(MemoryView memory) override;
  /// A GPU's memory is given back whole: false.
  bool discard(MemoryView allocation, MemoryView part) override;

  /// Host memory must be pinned (PinnedMemory): CUDA would wait for a copy of other memory. Errors:
  /// invalid_argument (unequal lengths; pageable memory), io.
  Result<DeviceEvent> copy(MemoryView to, ConstMemoryView from) override;
  Result<DeviceEvent> fill(MemoryView memory, std::byte value) override;
  Result<DeviceEvent> make_visible(MemoryView memory) override;

  Result<DeviceEvent> record() override;
  Result<bool> done(DeviceEvent event) override;

  /// cudaFree waits for all work of the GPU, and so must not be called while some of it waits for
  /// this thread. Calls of the two nest.
  void hold_frees() { ++holds_; }
  void release_frees() { --holds_; }

 private:
  struct Recorded {
    std::uint64_t position;  ///< of the last operation before it
    cudaEvent_t event;
  };
  struct Freed {
    void* memory;
    std::uint64_t position;
  };

  CudaDevice(std::uint16_t ordinal, bool flushes);
  /// Errors: what broke the device before.
  Status enter();
  Status fail(std::string_view call, cudaError_t code);
  Status launched();
  Status record_up_to_now();
  Status collect();
  void free_what_is_due();

  std::string name_;
  std::uint16_t ordinal_;
  bool flushes_;  ///< Writes by other devices are seen by kernels after a flush only.
  cudaStream_t stream_ = nullptr;
  Status broken_;
  std::uint64_t issued_ = 0;    ///< operations
  std::uint64_t recorded_ = 0;  ///< of those, up to the last of CUDA's events
  std::uint64_t finished_ = 0;  ///< of those, known to be done
  std::deque<Recorded> pending_;
  std::vector<cudaEvent_t> spare_;
  std::deque<Freed> freed_;
  int holds_ = 0;
};

}  // namespace shoal
