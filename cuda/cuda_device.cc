#include "cuda/cuda_device.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <utility>

#include "core/base/assert.h"
#include "cuda/error.h"
#include "cuda/gpus.h"

namespace shoal {

CudaDevice::CudaDevice(std::uint16_t ordinal, bool flushes)
    : name_(fmt::format("cuda:{}", ordinal)), ordinal_(ordinal), flushes_(flushes) {}

Result<std::unique_ptr<CudaDevice>> CudaDevice::create(std::uint16_t ordinal) {
  SHOAL_ASSIGN(const auto gpus, find_gpus());
  if (ordinal >= gpus.size())
    return Error{
        Errc::unavailable,
        fmt::format("there is no cuda:{}: this process sees {} GPU{}, cuda:0 {}; "
                    "CUDA_VISIBLE_DEVICES decides which",
                    ordinal, gpus.size(), gpus.size() == 1 ? "" : "s",
                    gpus.size() == 1 ? "only" : fmt::format("to cuda:{}", gpus.size() - 1))};
  int ordering = 0;
  if (const auto code =
          cudaDeviceGetAttribute(&ordering, cudaDevAttrGPUDirectRDMAWritesOrdering, ordinal);
      code != cudaSuccess)
    return cuda_error("cudaDeviceGetAttribute", code);
  const bool flushes = ordering < cudaGPUDirectRDMAWritesOrderingOwner;
  std::unique_ptr<CudaDevice> device(new CudaDevice(ordinal, flushes));
  SHOAL_TRY(device->enter());
  if (const auto code = cudaStreamCreateWithFlags(&device->stream_, cudaStreamNonBlocking);
      code != cudaSuccess)
    return cuda_error("cudaStreamCreateWithFlags", code);
  return device;
}

CudaDevice::~CudaDevice() {
  (void)cudaSetDevice(ordinal_);
  if (stream_ != nullptr) (void)cudaStreamSynchronize(stream_);
  for (const auto& freed : freed_) (void)cudaFree(freed.memory);
  for (const auto& recorded : pending_) (void)cudaEventDestroy(recorded.event);
  for (auto* event : spare_) (void)cudaEventDestroy(event);
  if (stream_ != nullptr) (void)cudaStreamDestroy(stream_);
}

Status CudaDevice::fail(std::string_view call, cudaError_t code) {
  auto error = cuda_error(fmt::format("{}: {}", name_, call), code);
  // What was to be done is not, and what comes behind it would go on as if it were.
  if (broken_.ok()) broken_ = error;
  (void)cudaGetLastError();
  return error;
}

Status CudaDevice::enter() {
  SHOAL_TRY(broken_);
  if (const auto code = cudaSetDevice(ordinal_); code != cudaSuccess)
    return fail("cudaSetDevice", code);
  return {};
}

// --- Memory --------------------------------------------------------------------------------------

Result<MemoryView> CudaDevice::allocate(std::size_t bytes, AllocateOptions) {
  if (bytes == 0) return Error{Errc::invalid_argument, "an allocation of 0 bytes"};
  SHOAL_TRY(enter());
  SHOAL_TRY(launched());
  SHOAL_TRY(collect());
  void* memory = nullptr;
  if (const auto code = cudaMalloc(&memory, bytes); code != cudaSuccess) {
    if (code != cudaErrorMemoryAllocation)
      return fail(fmt::format("cudaMalloc of {} bytes", bytes), code).error();
    (void)cudaGetLastError();  // It harms nobody else.
    return cuda_error(fmt::format("{}: cudaMalloc of {} bytes", name_, bytes), code);
  }
  return MemoryView{static_cast<std::byte*>(memory), bytes, MemorySpace::cuda, ordinal_};
}

void CudaDevice::deallocate(MemoryView memory) { freed_.push_back({memory.data, ++issued_}); }

bool CudaDevice::discard(MemoryView, MemoryView) { return false; }

void CudaDevice::free_what_is_due() {
  while (holds_ == 0 && !freed_.empty() && freed_.front().position <= finished_) {
    (void)cudaFree(freed_.front().memory);
    freed_.pop_front();
  }
}

void* CudaDevice::stream() const {
  (void)cudaSetDevice(ordinal_);
  return stream_;
}

// --- Work ----------------------------------------------------------------------------------------

Result<DeviceEvent> CudaDevice::copy(MemoryView to, ConstMemoryView from) {
  if (to.bytes != from.bytes)
    return Error{Errc::invalid_argument,
                 fmt::format("a copy of {} bytes to {}", from.bytes, to.bytes)};
  if (to.space == MemorySpace::host || from.space == MemorySpace::host)
    return Error{Errc::invalid_argument,
                 fmt::format("{} copies pinned memory only: CUDA would make this thread wait for "
                             "a copy of pageable memory",
                             name_)};
  SHOAL_TRY(enter());
  if (const auto code = cudaMemcpyAsync(to.data, from.data, to.bytes, cudaMemcpyDefault, stream_);
      code != cudaSuccess)
    return fail("cudaMemcpyAsync", code).error();
  return DeviceEvent(++issued_);
}

Result<DeviceEvent> CudaDevice::fill(MemoryView memory, std::byte value) {
  SHOAL_TRY(enter());
  if (const auto code =
          cudaMemsetAsync(memory.data, std::to_integer<int>(value), memory.bytes, stream_);
      code != cudaSuccess)
    return fail("cudaMemsetAsync", code).error();
  return DeviceEvent(++issued_);
}

Result<DeviceEvent> CudaDevice::make_visible(MemoryView) {
  if (flushes_) {
    SHOAL_TRY(enter());
    if (const auto code = cudaDeviceFlushGPUDirectRDMAWrites(
            cudaFlushGPUDirectRDMAWritesTargetCurrentDevice, cudaFlushGPUDirectRDMAWritesToOwner);
        code != cudaSuccess)
      return fail("cudaDeviceFlushGPUDirectRDMAWrites", code).error();
  }
  return DeviceEvent(++issued_);
}

// --- Events --------------------------------------------------------------------------------------

Result<DeviceEvent> CudaDevice::record() {
  SHOAL_TRY(enter());
  SHOAL_TRY(launched());
  return DeviceEvent(++issued_);
}

Result<bool> CudaDevice::done(DeviceEvent event) {
  const auto position = event.value;
  SHOAL_ASSERT(position <= issued_, "an event of another device");
  SHOAL_TRY(broken_);
  if (position <= finished_) return true;
  SHOAL_TRY(enter());
  SHOAL_TRY(launched());
  if (position > recorded_) SHOAL_TRY(record_up_to_now());
  SHOAL_TRY(collect());
  return position <= finished_;
}

/// A launch has no result of its own: what went wrong is told here.
Status CudaDevice::launched() {
  if (const auto code = cudaGetLastError(); code != cudaSuccess)
    return fail("a kernel's launch", code);
  return {};
}

Status CudaDevice::record_up_to_now() {
  cudaEvent_t event = nullptr;
  if (spare_.empty()) {
    // Without times, which would cost a write, and without a thread that sleeps on it.
    if (const auto code = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
        code != cudaSuccess)
      return fail("cudaEventCreateWithFlags", code);
  } else {
    event = spare_.back();
    spare_.pop_back();
  }
  if (const auto code = cudaEventRecord(event, stream_); code != cudaSuccess) {
    spare_.push_back(event);
    return fail("cudaEventRecord", code);
  }
  pending_.push_back({issued_, event});
  recorded_ = issued_;
  return {};
}

Status CudaDevice::collect() {
  while (!pending_.empty()) {
    const auto code = cudaEventQuery(pending_.front().event);
    if (code == cudaErrorNotReady) {
      (void)cudaGetLastError();  // It counts as one.
      break;
    }
    if (code != cudaSuccess) return fail("work on the GPU", code);
    finished_ = pending_.front().position;
    spare_.push_back(pending_.front().event);
    pending_.pop_front();
  }
  free_what_is_due();
  return {};
}

}  // namespace shoal
