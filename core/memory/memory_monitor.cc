#include "core/memory/memory_monitor.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "core/base/assert.h"

namespace shoal {

namespace {

constexpr std::uint64_t kEvents =
    UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE;
/// Came with Linux 5.13. Since 5.12 a process that forks keeps the pages that a device has pinned;
/// before, the next store would get it others, and no event says so.
constexpr std::uint64_t kKeepsPinnedPagesAtFork = UFFD_FEATURE_MINOR_HUGETLBFS;

/// Not in the kernel's headers of Linux 5.10.
constexpr int kUserModeOnly = 1;

/// Of the monitors of this process, for its children.
constexpr std::size_t kMonitorsMax = 64;
std::array<std::atomic<int>, kMonitorsMax> open_monitors;  // descriptor + 1; 0: none

/// Before Linux 6.17 one descriptor may end what another one watches: no two of this process may be
/// at it while memory that one of them watched has become the other's. Threads that hear of changes
/// never take it, so whoever holds it may free memory.
std::mutex registering;

/// A child that kept the descriptor would keep the parent's calls waiting for a thread that has
/// ended, and itself has no use for it: what it inherits is not watched.
void close_in_child() {
  for (auto& monitor : open_monitors)
    if (const int fd = monitor.exchange(0) - 1; fd >= 0) ::close(fd);
  registering.unlock();
}

std::uintptr_t page_size() {
  static const auto size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

Error unavailable(std::string why, int error = 0) {
  return {Errc::unavailable, std::move(why), error};
}

/// Memory of a file, and shared memory, may lose pages by what others do, of which no event tells.
bool is_private_anonymous(std::uintptr_t begin, std::uintptr_t end) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  auto at = begin;
  char line[512];
  bool fresh = true;
  while (at < end && std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long from = 0, to = 0, inode = 0;
    char access[5] = "";
    const bool is_start = fresh;
    fresh = std::strchr(line, '\n') != nullptr;
    if (!is_start) continue;  // the rest of a long name
    if (std::sscanf(line, "%lx-%lx %4s %*x %*s %lu", &from, &to, access, &inode) != 4) break;
    if (to <= at) continue;
    if (from > at || access[3] != 'p' || inode != 0) break;
    at = to;
  }
  std::fclose(maps);
  return at >= end;
}

int watch_range(int events, std::uintptr_t begin, std::uintptr_t end) {
  uffdio_register range{};
  range.range = {begin, end - begin};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(events, UFFDIO_REGISTER, &range) == 0 ? 0 : errno;
}

/// Anonymous, private, untouched.
std::byte* map_page() {
  void* page =
      ::mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return page == MAP_FAILED ? nullptr : static_cast<std::byte*>(page);
}

std::uintptr_t address_of(const std::byte* data) { return reinterpret_cast<std::uintptr_t>(data); }

}  // namespace

Result<std::unique_ptr<MemoryMonitor>> MemoryMonitor::create() {
  std::unique_ptr<MemoryMonitor> monitor(new MemoryMonitor);
  SHOAL_TRY(monitor->open());
  SHOAL_TRY(monitor->try_out());
  // Signals are for threads that may do as they like.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  Status started;
  try {
    monitor->thread_ = std::thread([self = monitor.get()] {
      ::pthread_setname_np(::pthread_self(), "shoal-memory");
      self->run();
    });
  } catch (const std::system_error& e) {
    started = unavailable("no thread could be started", e.code().value());
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!started.ok()) return std::move(started).error();
  return monitor;
}

Status MemoryMonitor::open() {
  [[maybe_unused]] static const int registered =
      ::pthread_atfork([] { registering.lock(); }, [] { registering.unlock(); }, &close_in_child);
  events_ = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
  if (events_ < 0 && (errno == EPERM || errno == EACCES))
    return unavailable(
        "userfaultfd is forbidden: a container's seccomp profile has to allow it; and kernels "
        "before 5.11 need sysctl vm.unprivileged_userfaultfd=1",
        errno);
  if (events_ < 0) return unavailable("this kernel has no userfaultfd", errno);
  for (std::size_t i = 0; i < kMonitorsMax && fork_slot_ == ~0ull; ++i)
    if (int none = 0; open_monitors[i].compare_exchange_strong(none, events_ + 1)) fork_slot_ = i;
  if (fork_slot_ == ~0ull)
    return unavailable(fmt::format("this process watches memory {} times already", kMonitorsMax));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kEvents;
  if (::ioctl(events_, UFFDIO_API, &api) != 0)
    return unavailable("this kernel's userfaultfd tells of no changes", errno);
  if ((api.features & kKeepsPinnedPagesAtFork) == 0)
    return unavailable("it needs Linux 5.13, which keeps what is pinned where it is at fork()");
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  if (stop_ < 0) return unavailable("no eventfd could be made", errno);
  probe_ = map_page();
  if (probe_ == nullptr) return unavailable("a page of memory", errno);
  if (const int error = watch_range(events_, address_of(probe_), address_of(probe_) + page_size()))
    return unavailable("this kernel's userfaultfd does not watch memory", error);
  return {};
}

/// What all rests on: while a munmap() has not returned, or was not heard of, the kernel says that
/// the layout is changing.
Status MemoryMonitor::try_out() {
  auto* page = map_page();
  if (page == nullptr) return unavailable("a page of memory", errno);
  const auto begin = address_of(page);
  if (const int error = watch_range(events_, begin, begin + page_size())) {
    ::munmap(page, page_size());
    return unavailable("this kernel's userfaultfd does not watch memory", error);
  }
  std::thread other;
  try {
    other = std::thread([page] { ::munmap(page, page_size()); });
  } catch (const std::system_error& e) {
    ::munmap(page, page_size());
    return unavailable("no thread could be started", e.code().value());
  }
  constexpr int kPatienceMs = 5000;
  pollfd ready{events_, POLLIN, 0};
  const bool told = ::poll(&ready, 1, kPatienceMs) == 1;
  const bool changing = told && is_changing();
  uffd_msg message{};
  const bool heard = told && ::read(events_, &message, sizeof message) == sizeof message &&
                     message.event == UFFD_EVENT_UNMAP && message.arg.remove.start == begin;
  if (told && !heard) {  // end the call whatever it waits for
    open_monitors[fork_slot_].store(0);
    fork_slot_ = ~0ull;
    ::close(std::exchange(events_, -1));
  }
  other.join();
  if (!changing || !heard || is_changing())
    return unavailable("this kernel's userfaultfd does not tell of munmap() in time");
  return {};
}

MemoryMonitor::~MemoryMonitor() {
  if (thread_.joinable()) {
    const std::uint64_t one = 1;
    (void)!::write(stop_, &one, sizeof one);
    thread_.join();
  }
  // Whoever waits to be heard goes on.
  if (fork_slot_ != ~0ull) open_monitors[fork_slot_].store(0);
  if (events_ >= 0) ::close(events_);
  if (stop_ >= 0) ::close(stop_);
  if (probe_ != nullptr) ::munmap(probe_, page_size());
}

/// Whether some call has begun to change watched memory and was not heard of yet. The kernel
/// refuses to change protections until then; of a page that nobody touched there are none.
bool MemoryMonitor::is_changing() const {
  uffdio_writeprotect nothing{};
  nothing.range = {address_of(probe_), page_size()};
  return ::ioctl(events_, UFFDIO_WRITEPROTECT, &nothing) != 0;
}

// --- The owner.

Result<MemoryMonitor::Watch> MemoryMonitor::watch(ConstMemoryView memory) {
  const auto begin = address_of(memory.data) / page_size() * page_size();
  const auto end =
      (address_of(memory.data) + memory.bytes + page_size() - 1) / page_size() * page_size();
  if (!is_private_anonymous(begin, end))
    return unavailable("it is of a file or shared, or not all of it is mapped");
  const auto free =
      std::find_if(slots_.begin(), slots_.end(), [](auto& one) { return !one.taken; });
  if (free == slots_.end())
    return Error{Errc::overloaded, fmt::format("{} ranges are watched already", kWatchesMax)};
  auto& slot = *free;
  slot.taken = true;
  slot.range.begin.store(begin);
  slot.range.end.store(end);
  if (++slot.generation == 0) slot.generation = 1;
  // From here on it is marked by what is heard; that it is told of comes next.
  slot.live.store(slot.generation);
  Watch watch{static_cast<std::uint32_t>(free - slots_.begin()), slot.generation};
  int error = 0;
  {
    const std::lock_guard lock(registering);
    error = watch_range(events_, begin, end);
  }
  if (error != 0) {
    slot.live.store(0);
    slot.taken = false;
    return unavailable(error == EBUSY ? "somebody else in this process watches it"
                                      : "the kernel does not watch it",
                       error);
  }
  // What is being unmapped elsewhere may still be to be heard of, and lift what is said of pages
  // that were discarded.
  const auto before = turns();
  const bool changing = is_changing() || before % 2 != 0;
  const bool discarded = may_be_discarded(begin, end);
  if (changing || turns() != before) {
    forget(watch);
    return Error{Errc::overloaded, "memory is being unmapped at the moment"};
  }
  if (discarded) {
    forget(watch);
    return unavailable("pages of it were given back to the kernel before");
  }
  return watch;
}

bool MemoryMonitor::seems_intact(const Watch& watch) const {
  return watch.valid() && slots_[watch.slot].live.load() == watch.generation;
}

// What began to change before is_changing() was asked has been taken from the descriptor if it says
// no, and so turns_ had been odd; if it is even, all that was taken is marked.
bool MemoryMonitor::intact(const Watch& watch) const {
  if (!seems_intact(watch) || is_changing() || turns() % 2 != 0) return false;
  return seems_intact(watch);
}

void MemoryMonitor::forget(Watch& watch) {
  if (!watch.valid()) return;
  auto& slot = slots_[watch.slot];
  SHOAL_ASSERT(slot.taken && slot.generation == watch.generation, "a watch was forgotten twice");
  {
    // What has changed may be somebody else's by now, and is not told of any more.
    const std::lock_guard lock(registering);
    const bool ours = intact(watch);
    slot.live.store(0);
    slot.taken = false;
    if (ours) stop_watching(slot.range.begin.load(), slot.range.end.load());
  }
  watch = {};
}

/// But for what other watches cover, or must never be taken for intact again.
void MemoryMonitor::stop_watching(std::uintptr_t from, std::uintptr_t to) {
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> kept;
  for (const auto& slot : slots_)
    if (slot.live.load() != 0 && slot.range.overlaps(from, to))
      kept.emplace_back(slot.range.begin.load(), slot.range.end.load());
  for (const auto& range : discarded_)
    if (range.overlaps(from, to)) kept.emplace_back(range.begin.load(), range.end.load());
  kept.emplace_back(to, to);
  std::sort(kept.begin(), kept.end());
  for (const auto& [begin, end] : kept) {
    if (begin > from) {
      uffdio_range gap{from, begin - from};
      (void)::ioctl(events_, UFFDIO_UNREGISTER, &gap);
    }
    from = std::max(from, end);
    if (from >= to) break;
  }
}

bool MemoryMonitor::may_be_discarded(std::uintptr_t from, std::uintptr_t to) const {
  return too_many_discarded_.load() ||
         std::any_of(discarded_.begin(), discarded_.end(),
                     [&](const Range& range) { return range.overlaps(from, to); });
}

// --- The thread: no allocation, no lock, no memory that may be watched.

void MemoryMonitor::run() {
  for (;;) {
    pollfd ready[2] = {{events_, POLLIN, 0}, {stop_, POLLIN, 0}};
    (void)::poll(ready, 2, -1);
    if (ready[1].revents != 0) return;
    turns_.fetch_add(1, std::memory_order_seq_cst);
    hear();
    turns_.fetch_add(1, std::memory_order_seq_cst);
  }
}

void MemoryMonitor::hear() {
  uffd_msg messages[16];
  const auto bytes = ::read(events_, messages, sizeof messages);
  for (::ssize_t i = 0; i < bytes / static_cast<::ssize_t>(sizeof(uffd_msg)); ++i) {
    const auto& arg = messages[i].arg;
    switch (messages[i].event) {
      case UFFD_EVENT_UNMAP:
        mark(arg.remove.start, arg.remove.end);
        forget_discarded(arg.remove.start, arg.remove.end);
        break;
      case UFFD_EVENT_REMOVE:
        note_discarded(arg.remove.start, arg.remove.end);
        mark(arg.remove.start, arg.remove.end);
        break;
      case UFFD_EVENT_REMAP:
        mark(arg.remap.from, arg.remap.from + arg.remap.len);
        mark(arg.remap.to, arg.remap.to + arg.remap.len);
        break;
      default:
        break;
    }
  }
}

void MemoryMonitor::mark(std::uintptr_t from, std::uintptr_t to) {
  for (auto& slot : slots_) {
    auto watched = slot.live.load();
    if (watched != 0 && slot.range.overlaps(from, to))
      slot.live.compare_exchange_strong(watched, 0);
  }
}

/// The call that gives the pages back goes on once it was heard, and nothing tells when it has
/// ended: what is pinned meanwhile would be the pages that it is about to take. So such memory is
/// not watched again before it was unmapped.
void MemoryMonitor::note_discarded(std::uintptr_t from, std::uintptr_t to) {
  Range* place = nullptr;
  for (auto& range : discarded_) {
    const auto begin = range.begin.load();
    const auto end = range.end.load();
    if (end == 0) {
      if (place == nullptr) place = &range;
    } else if (begin <= to && from <= end) {  // they touch: one range
      from = std::min(from, begin);
      to = std::max(to, end);
      range.end.store(0);
      range.begin.store(0);
      if (place == nullptr) place = &range;
    }
  }
  if (place == nullptr) return too_many_discarded_.store(true);
  place->begin.store(from);
  place->end.store(to);
}

void MemoryMonitor::forget_discarded(std::uintptr_t from, std::uintptr_t to) {
  for (auto& range : discarded_)
    if (range.end.load() != 0 && from <= range.begin.load() && range.end.load() <= to) {
      range.end.store(0);
      range.begin.store(0);
    }
}

}  // namespace shoal
