#include "transport/verbs/registration.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <thread>

#include "core/base/log.h"

namespace shoal::verbs {

namespace {

// Of Linux 5.14; not in the headers of C libraries of that time.
constexpr int kPopulateRead = 22;
constexpr int kPopulateWrite = 23;

Result<MemoryRegion> register_dma_buf(const Rail& rail, MemoryView memory, int access,
                                      DmaBufExporter& exporter) {
  auto exported = exporter.export_dma_buf(memory);
  if (!exported.ok())
    return Error{
        Errc::registration,
        fmt::format("memory of a GPU for {}: {}", rail.port().device, exported.error().what),
        exported.error().native};
  auto region = rail.register_dma_buf(*exported, memory, access);
  ::close(exported->fd);  // the region keeps what is behind it
  return region;
}

/// What may not be locked can still be reached where the device pages: slower, and better than not.
Result<MemoryRegion> register_pinned(const Rail& rail, MemoryView memory, int access) {
  auto region = rail.register_memory(memory, access);
  if (region.ok() || region.error().native != ENOMEM || !rail.port().pages_on_demand) return region;
  auto paged = rail.register_memory(memory, access | IBV_ACCESS_ON_DEMAND);
  if (!paged.ok()) return region;
  log_info("verbs", "{} bytes are paged on demand, which is slower: {}", memory.bytes,
           region.error().message());
  return paged;
}

}  // namespace

Result<std::vector<MemoryRegion>> register_with(std::span<const std::unique_ptr<Rail>> rails,
                                                MemoryView memory, int access, Paging paging,
                                                DmaBufExporter* exporter) {
  const bool of_gpu = memory.space == MemorySpace::cuda;
  if (of_gpu && exporter == nullptr)
    return Error{Errc::registration,
                 "memory of a GPU: nobody in this process exports it as a dma-buf"};
  if (!of_gpu && paging == Paging::pinned) populate(memory, (access & IBV_ACCESS_LOCAL_WRITE) != 0);
  std::vector<MemoryRegion> regions;
  for (const auto& rail : rails) {
    auto region = of_gpu ? register_dma_buf(*rail, memory, access, *exporter)
                  : paging == Paging::on_demand
                      ? rail->register_memory(memory, access | IBV_ACCESS_ON_DEMAND)
                      : register_pinned(*rail, memory, access);
    if (!region.ok()) return std::move(region).error();
    regions.push_back(std::move(region).value());
  }
  return regions;
}

void populate(MemoryView memory, bool writable) {
  if (memory.bytes < kPopulateBytes) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(memory.data) + memory.bytes;
  std::atomic<std::uintptr_t> next = begin;
  const auto work = [&] {
    for (;;) {
      const auto at = next.fetch_add(kPopulatePiece);
      if (at >= end) return;
      const auto bytes = std::min<std::uintptr_t>(kPopulatePiece, end - at);
      if (::madvise(reinterpret_cast<void*>(at), bytes, writable ? kPopulateWrite : kPopulateRead))
        return next.store(end);  // the device will say what is wrong with it
    }
  };
  const auto cores = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  try {
    for (unsigned i = 1; i < std::min(cores, kPopulateThreads); ++i) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // With fewer, then.
  }
  work();
  for (auto& thread : threads) thread.join();
}

}  // namespace shoal::verbs
