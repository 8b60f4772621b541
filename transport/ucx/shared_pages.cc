#include "transport/ucx/shared_pages.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "core/base/entropy.h"
#include "core/base/log.h"

namespace shoal::ucx {

namespace {

constexpr std::size_t round_up(std::size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

Error no_memory(std::size_t bytes) {
  return {Errc::no_memory, fmt::format("{} bytes of memory that peers can map", bytes), errno};
}

/// Touched at once: pages are charged to the container of whoever touches them first.
void* map(int file, std::size_t offset, std::size_t bytes) {
  return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file,
                static_cast<off_t>(offset));
}

}  // namespace

// --- One piece -----------------------------------------------------------------------------------

// Sealed: a peer may map it without fear that it shrinks, which would end the peer with SIGBUS.
Result<std::unique_ptr<SharedPages>> SharedPages::create(std::size_t bytes) {
  std::unique_ptr<SharedPages> pages(new SharedPages());
  pages->file_ = ::memfd_create("shoal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (pages->file_ < 0) return no_memory(bytes);
  const auto rounded = round_up(bytes);
  if (::ftruncate(pages->file_, static_cast<off_t>(kGateBytes + rounded)) != 0 ||
      ::fcntl(pages->file_, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return no_memory(bytes);
  void* gate = map(pages->file_, 0, kGateBytes);
  if (gate == MAP_FAILED) return no_memory(bytes);
  pages->gate_ = new (gate) Gate();
  pages->gate_->cookie = entropy();
  void* data = map(pages->file_, kGateBytes, rounded);
  if (data == MAP_FAILED) return no_memory(bytes);
  pages->data_ = static_cast<std::byte*>(data);
  pages->bytes_ = rounded;
  return pages;
}

SharedPages::~SharedPages() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
  if (gate_ != nullptr) ::munmap(gate_, kGateBytes);
  if (file_ >= 0) ::close(file_);
}

SharedCard SharedPages::card(MemoryView part) const {
  return {.process = static_cast<std::uint32_t>(::getpid()),
          .file = static_cast<std::uint32_t>(file_),
          .cookie = gate_->cookie,
          .offset = static_cast<std::uint64_t>(part.data - data_),
          .bytes = part.bytes};
}

bool SharedPages::take(std::uint64_t region) {
  if (region_ != 0 || replaced_) return false;
  region_ = region;
  return true;
}

void SharedPages::give_back(const Clock& clock) {
  for (std::size_t index = 0; index < kLinksMax; ++index) bar(index, clock);
  region_ = 0;
}

void SharedPages::admit(std::size_t index, std::uint64_t ticket) {
  if (replaced_) return;
  admitted_[index] = true;
  gate_->turnstiles[index].open.store(ticket);
}

void SharedPages::bar(std::size_t index, const Clock& clock) {
  if (!std::exchange(admitted_[index], false)) return;
  auto& turnstile = gate_->turnstiles[index];
  turnstile.open.store(0);
  const auto deadline = deadline_after(clock.now(), kInsideMax);
  while (turnstile.inside.load() != 0) {
    if (clock.now() < deadline) {
      ::sched_yield();
      continue;
    }
    log_warn("ucx",
             "a peer stands still while it uses memory of this process: its pages are replaced");
    replace(turnstile.offset.load(), turnstile.bytes.load());
    replaced_ = true;
    // Others are in other pages, which stay; what they come with next goes by packets.
    for (auto& other : gate_->turnstiles) other.open.store(0);
    return;
  }
}

/// Atomically for other threads of this process, none of which writes there: the bytes are lent.
void SharedPages::replace(std::uint64_t offset, std::uint64_t bytes) {
  if (offset >= bytes_) return;
  const auto begin = static_cast<std::size_t>(offset) / kPageBytes * kPageBytes;
  const auto end =
      round_up(static_cast<std::size_t>(offset) +
               std::min<std::size_t>(bytes, bytes_ - static_cast<std::size_t>(offset)));
  if (begin == end) return;
  void* fresh =
      ::mmap(nullptr, end - begin, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SHOAL_ASSERT(fresh != MAP_FAILED, "no memory to take the place of what a stopped peer is in");
  std::memcpy(fresh, data_ + begin, end - begin);
  const auto* moved =
      ::mremap(fresh, end - begin, end - begin, MREMAP_MAYMOVE | MREMAP_FIXED, data_ + begin);
  SHOAL_ASSERT(moved == data_ + begin, "pages that a stopped peer is in cannot be replaced");
}

// --- All -----------------------------------------------------------------------------------------

MemoryView SharedPool::allocate(std::size_t bytes) {
  if (bytes < kSharedMin) return {};
  auto pages = SharedPages::create(bytes);
  const std::lock_guard lock(mutex_);
  if (pages.ok() && all_.size() < kSharedMax) {
    all_.push_back(std::move(pages).value());
    return all_.back()->memory();
  }
  if (!std::exchange(told_, true))
    log_warn("ucx", "buffers are copied twice on their way to peers on this host: {}",
             pages.ok() ? fmt::format("there are {} that can be mapped already", kSharedMax)
                        : pages.error().message());
  return {};
}

bool SharedPool::deallocate(MemoryView memory) {
  const std::lock_guard lock(mutex_);
  return std::erase_if(all_,
                       [&](const auto& pages) { return pages->memory().data == memory.data; }) > 0;
}

SharedPages* SharedPool::find(MemoryView part) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(all_.begin(), all_.end(),
                               [&](const auto& pages) { return pages->contains(part); });
  return at != all_.end() ? at->get() : nullptr;
}

}  // namespace shoal::ucx
