#include <fmt/core.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "core/memory/device.h"

namespace shoal {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// From here on memory is the kernel's own mapping: what is given back leaves the process at once,
/// where malloc would keep it for other sizes.
constexpr std::size_t kMapped = std::size_t{1} << 20;
constexpr std::size_t kPage = 4096;

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

/// `bytes` of whole pages, aligned to `alignment`, or null.
std::byte* map_pages(std::size_t bytes, std::size_t alignment) {
  const auto room = bytes + alignment - kPage;
  void* mapped = ::mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(mapped);
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const auto before = round_up(address, alignment) - address;
  if (before != 0) (void)::munmap(begin, before);
  if (room - before != bytes) (void)::munmap(begin + before + bytes, room - before - bytes);
  return begin + before;
}

}  // namespace

Result<MemoryView> HostDevice::allocate(std::size_t bytes, AllocateOptions options) {
  if (bytes == 0) return Error{Errc::invalid_argument, "an allocation of 0 bytes"};
  const bool huge = options.huge_pages && bytes >= kHugePage;
  if (bytes > SIZE_MAX - 2 * kHugePage)
    return Error{Errc::no_memory, fmt::format("{} bytes of host memory", bytes)};
  const bool mapped = bytes >= kMapped;
  const auto rounded = round_up(bytes, mapped ? kPage : kMemoryAlignment);
  auto* memory = mapped ? map_pages(rounded, huge ? kHugePage : kPage)
                        : static_cast<std::byte*>(std::aligned_alloc(kMemoryAlignment, rounded));
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
  if (memory.bytes < kMapped) return std::free(memory.data);
  const auto gone = ::munmap(memory.data, round_up(memory.bytes, kPage));
  SHOAL_ASSERT(gone == 0, "memory that this device did not allocate");
}

bool HostDevice::discard(MemoryView allocation, MemoryView part) {
  if (allocation.bytes < kMapped) return true;
  const auto address = reinterpret_cast<std::uintptr_t>(part.data);
  const auto before = round_up(address, kPage) - address;
  if (part.bytes < before + kPage) return true;
  // The kernel would put the pages back when it makes huge ones of small ones.
  (void)::madvise(allocation.data, round_up(allocation.bytes, kPage), MADV_NOHUGEPAGE);
  (void)::madvise(part.data + before, (part.bytes - before) / kPage * kPage, MADV_DONTNEED);
  return true;
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
