#include "cuda/pinned_memory.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cuda/error.h"
#include "cuda/gpus.h"

namespace shoal {

namespace {

constexpr std::size_t kPage = 4096;

/// Pages near `node`, if there are any left. Advice: an error is none.
void place(void* memory, std::size_t bytes, int node) {
  if (node < 0 || node >= 64) return;
  const unsigned long nodes = 1ul << node;
  (void)::syscall(SYS_mbind, memory, bytes, MPOL_PREFERRED, &nodes, sizeof nodes * 8 + 1, 0u);
}

}  // namespace

Result<PinnedMemory> PinnedMemory::create(std::uint16_t ordinal, std::size_t bytes) {
  if (bytes == 0) return Error{Errc::invalid_argument, "an allocation of 0 bytes"};
  SHOAL_ASSIGN(const auto gpus, find_gpus());
  if (ordinal >= gpus.size())
    return Error{
        Errc::unavailable,
        fmt::format("pinned memory for cuda:{}: this process sees {} GPUs", ordinal, gpus.size())};
  const auto rounded = (bytes + kPage - 1) / kPage * kPage;
  void* memory =
      ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return Error{Errc::no_memory,
                 fmt::format("{} bytes of pinned memory: {}", bytes, std::strerror(errno))};
  place(memory, rounded, gpus[ordinal].numa_node);
  (void)::madvise(memory, rounded, MADV_HUGEPAGE);
  (void)cudaSetDevice(ordinal);
  if (const auto code = cudaHostRegister(memory, rounded, cudaHostRegisterPortable);
      code != cudaSuccess) {
    (void)cudaGetLastError();
    ::munmap(memory, rounded);
    return cuda_error(fmt::format("cudaHostRegister of {} bytes", bytes), code);
  }
  return PinnedMemory({static_cast<std::byte*>(memory), bytes, MemorySpace::pinned, ordinal});
}

PinnedMemory::~PinnedMemory() {
  if (memory_.data == nullptr) return;
  (void)cudaHostUnregister(memory_.data);
  ::munmap(memory_.data, (memory_.bytes + kPage - 1) / kPage * kPage);
}

}  // namespace shoal
