#include "transport/ucx/foreign_pages.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace shoal::ucx {

namespace {

Error cannot_map(const char* why, int native = 0) {
  return {Errc::unavailable, fmt::format("memory of the peer cannot be mapped: {}", why), native};
}

/// A descriptor that closes itself.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

// The peer may have named any descriptor of any process: only a file of memory is opened at all,
// and only one that cannot shrink is mapped.
Result<std::unique_ptr<ForeignPages>> ForeignPages::open(const SharedCard& card,
                                                         std::uint64_t region, std::size_t index,
                                                         std::uint64_t owner_secret) {
  const File path(
      ::open(fmt::format("/proc/{}/fd/{}", card.process, card.file).c_str(), O_PATH | O_CLOEXEC));
  struct stat status {};
  if (path.get() < 0 || ::fstat(path.get(), &status) != 0)
    return cannot_map("it is on another host or in another container, or another user's", errno);
  if (!S_ISREG(status.st_mode)) return cannot_map("it is no file of memory");
  const File file(
      ::open(fmt::format("/proc/self/fd/{}", path.get()).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return cannot_map("its file cannot be opened", errno);
  const int seals = ::fcntl(file.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) return cannot_map("it is no file of memory");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size < kGateBytes || card.offset > size - kGateBytes ||
      card.bytes > size - kGateBytes - card.offset)
    return cannot_map("it is shorter than the region");

  std::unique_ptr<ForeignPages> pages(new ForeignPages());
  pages->region_ = region;
  pages->ticket_ = ticket_of(region, owner_secret);
  pages->index_ = index;
  pages->offset_ = card.offset;
  pages->bytes_ = card.bytes;
  pages->mapped_bytes_ = static_cast<std::size_t>(size);
  void* mapped =
      ::mmap(nullptr, pages->mapped_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return cannot_map("there is no room for it", errno);
  pages->mapped_ = static_cast<std::byte*>(mapped);
  pages->gate_ = static_cast<Gate*>(mapped);
  if (pages->gate_->cookie != card.cookie) return cannot_map("it is other memory by now");
  return pages;
}

ForeignPages::~ForeignPages() {
  if (mapped_ != nullptr) ::munmap(mapped_, mapped_bytes_);
}

std::size_t ForeignPages::before_page(std::uint64_t offset) const {
  const auto within = static_cast<std::size_t>((offset_ + offset) % kPageBytes);
  return within == 0 ? 0 : kPageBytes - within;
}

std::size_t ForeignPages::whole_pages(std::uint64_t offset, std::size_t bytes) const {
  return before_page(offset) != 0 ? 0 : bytes / kPageBytes * kPageBytes;
}

/// Null: it is not admitted, and stands outside again.
std::byte* ForeignPages::go_in(std::uint64_t offset, std::size_t bytes) {
  if (offset > bytes_ || bytes > bytes_ - offset) return nullptr;
  auto& way = turnstile();
  std::uint64_t nobody = 0;
  if (!way.inside.compare_exchange_strong(nobody, ticket_)) return nullptr;
  way.offset.store(offset_ + offset);
  way.bytes.store(bytes);
  if (way.open.load() == ticket_) return mapped_ + kGateBytes + offset_ + offset;
  leave();
  return nullptr;
}

void ForeignPages::leave() {
  auto& way = turnstile();
  way.bytes.store(0);
  auto own = ticket_;
  way.inside.compare_exchange_strong(own, 0);
}

bool ForeignPages::write(std::uint64_t offset, std::span<const std::byte> from) {
  auto* to = go_in(offset, from.size());
  if (to == nullptr) return false;
  std::memcpy(to, from.data(), from.size());
  leave();
  return true;
}

const std::byte* ForeignPages::enter(std::uint64_t offset, std::size_t bytes) {
  return whole_pages(offset, bytes) == bytes ? go_in(offset, bytes) : nullptr;
}

// As under a sequence lock: what was read counts only if it was admitted to the end.
bool ForeignPages::read(std::uint64_t offset, std::span<std::byte> to) const {
  if (offset > bytes_ || to.size() > bytes_ - offset || turnstile().open.load() != ticket_)
    return false;
  std::memcpy(to.data(), mapped_ + kGateBytes + offset_ + offset, to.size());
  std::atomic_thread_fence(std::memory_order_acquire);
  return turnstile().open.load() == ticket_;
}

}  // namespace shoal::ucx
