#include <fmt/core.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core/memory/device.h"

namespace shoal {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Result<MemoryView> HostDevice::allocate(std::size_t bytes, AllocateOptions options) {
  if (bytes == 0) return Error{Errc::invalid_argument, "an allocation of 0 bytes"};
  const bool huge = options.huge_pages && bytes >= kHugePage;
  const auto alignment = huge ? kHugePage : kMemoryAlignment;
  if (bytes > SIZE_MAX - alignment)
    return Error{Errc::no_memory, fmt::format("{} bytes of host memory", bytes)};
  const auto rounded = round_up(bytes, alignment);
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, rounded));
  if (memory == nullptr)
    return Error{
        Errc::no_memory,
        fmt::format("{} bytes of host memory: lower the memory limits or add servers", bytes)};
  // Fewer TLB misses on random rows. Without transparent huge pages the advice fails: no harm.
  if (huge) (void)::madvise(memory, rounded, MADV_HUGEPAGE);
  return MemoryView{memory, bytes, MemorySpace::host, 0};
}

void HostDevice::deallocate(MemoryView memory) {
  SHOAL_ASSERT(memory.space == MemorySpace::host, "host device asked to free another space");
  std::free(memory.data);
}

Result<DeviceEvent> HostDevice::copy(MemoryView to, ConstMemoryView from) {
  if (to.bytes != from.bytes)
    return Error{Errc::invalid_argument,
                 fmt::format("copy of {} bytes into {}", from.bytes, to.bytes)};
  if (to.space == MemorySpace::cuda || from.space == MemorySpace::cuda)
    return Error{Errc::invalid_argument,
                 "the host device cannot copy CUDA memory: use its own device"};
  if (to.bytes != 0) std::memcpy(to.data, from.data, to.bytes);
  return DeviceEvent();
}

Result<DeviceEvent> HostDevice::fill(MemoryView memory, std::byte value) {
  if (memory.space == MemorySpace::cuda)
    return Error{Errc::invalid_argument,
                 "the host device cannot fill CUDA memory: use its own device"};
  if (memory.bytes != 0) std::memset(memory.data, std::to_integer<int>(value), memory.bytes);
  return DeviceEvent();
}

Result<DeviceEvent> HostDevice::make_visible(MemoryView) {
  // The transport polled the completion of the write; this keeps later reads behind that poll.
  std::atomic_thread_fence(std::memory_order_acquire);
  return DeviceEvent();
}

}  // namespace shoal
