#include "group/gpu.h"

#ifdef SHOAL_HAS_CUDA
#include <string>
#include <utility>

#include "cuda/cuda_device.h"
#include "cuda/gpus.h"
#include "cuda/pinned_memory.h"
#include "cuda/row_kernels.h"
#endif

namespace shoal {

#ifdef SHOAL_HAS_CUDA

namespace {

class CudaPiece final : public PinnedPiece {
 public:
  explicit CudaPiece(PinnedMemory memory) : memory_(std::move(memory)) {}
  MemoryView view() const override { return memory_.view(); }

 private:
  PinnedMemory memory_;
};

class CudaGroupGpu final : public GroupGpu {
 public:
  CudaGroupGpu(std::unique_ptr<CudaDevice> device, std::string address)
      : device_(std::move(device)), address_(std::move(address)) {}

  Device& device() override { return *device_; }
  const RowKernels& kernels() const override { return cuda::row_kernels(); }
  std::string_view address() const override { return address_; }
  Result<std::unique_ptr<PinnedPiece>> pin(std::size_t bytes) override {
    SHOAL_ASSIGN(auto memory, PinnedMemory::create(device_->ordinal(), bytes));
    return std::unique_ptr<PinnedPiece>(std::make_unique<CudaPiece>(std::move(memory)));
  }

 private:
  std::unique_ptr<CudaDevice> device_;
  std::string address_;
};

}  // namespace

Result<std::unique_ptr<GroupGpu>> GroupGpu::open(std::uint16_t ordinal) {
  SHOAL_ASSIGN(auto device, CudaDevice::create(ordinal));
  SHOAL_ASSIGN(auto gpus, find_gpus());
  return std::unique_ptr<GroupGpu>(
      std::make_unique<CudaGroupGpu>(std::move(device), std::move(gpus[ordinal].pci_address)));
}

#else

Result<std::unique_ptr<GroupGpu>> GroupGpu::open(std::uint16_t) {
  return Error{Errc::unavailable,
               "Shoal was built without GPUs (SHOAL_WITH_CUDA): it needs the CUDA toolkit"};
}

#endif

}  // namespace shoal
