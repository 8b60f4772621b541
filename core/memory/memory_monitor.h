#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "core/base/result.h"
#include "core/memory/memory_view.h"

namespace shoal {

/// Tells whether memory of the user's is still what it was: whether the pages behind its addresses
/// are those that a device pinned when it was registered. munmap, mremap, madvise(MADV_DONTNEED,
/// MADV_FREE), brk and mmap over it change that. The kernel tells of each through userfaultfd(2),
/// whoever makes the call, and holds the call until it was heard: by a thread that does nothing
/// else and allocates nothing, since a free() of its own might wait for itself. Nothing is ever
/// write-protected, so that there are no faults. See docs/design/registration.md.
///
/// All methods belong to one loop, or to several threads one after the other.
class MemoryMonitor {
 public:
  static constexpr std::size_t kWatchesMax = 512;

  /// Errors: unavailable (the kernel or a container does not let us: what, and what to do).
  static Result<std::unique_ptr<MemoryMonitor>> create();
  ~MemoryMonitor();
  MemoryMonitor(const MemoryMonitor&) = delete;
  MemoryMonitor& operator=(const MemoryMonitor&) = delete;

  struct Watch {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;  ///< 0: no watch
    bool valid() const { return generation != 0; }
  };
  /// Watches the pages of `memory`, at least one byte, from now on: who pins them does so
  /// afterwards, and asks intact() then. Errors: overloaded (not at the moment, or kWatchesMax),
  /// unavailable (memory that may change in other ways, or that somebody else watches: why).
  Result<Watch> watch(ConstMemoryView memory);
  /// Idempotent; a watch that is not valid is none.
  void forget(Watch& watch);
  /// True: at some moment after the call began no page had been changed since watch(). False: one
  /// may have been.
  bool intact(const Watch& watch) const;
  /// Without asking the kernel: false once a change was heard of. For who looks what may go.
  bool seems_intact(const Watch& watch) const;
  /// How many times the thread has heard of changes, twice: rises before and after each.
  std::uint64_t turns() const { return turns_.load(std::memory_order_seq_cst); }

 private:
  struct Range {
    std::atomic<std::uintptr_t> begin{0}, end{0};
    bool overlaps(std::uintptr_t from, std::uintptr_t to) const {
      return begin.load() < to && from < end.load();
    }
  };
  struct Slot {
    Range range;
    std::atomic<std::uint32_t> live{0};  ///< the generation that is watched; 0: none, or changed
    std::uint32_t generation = 0;        ///< the owner's
    bool taken = false;                  ///< the owner's
  };
  static constexpr std::size_t kDiscardedMax = 256;

  MemoryMonitor() = default;
  Status open();
  Status try_out();
  bool is_changing() const;
  void run();
  void hear();
  void mark(std::uintptr_t from, std::uintptr_t to);
  void note_discarded(std::uintptr_t from, std::uintptr_t to);
  void forget_discarded(std::uintptr_t from, std::uintptr_t to);
  bool may_be_discarded(std::uintptr_t from, std::uintptr_t to) const;
  void stop_watching(std::uintptr_t from, std::uintptr_t to);

  int events_ = -1;                ///< the userfaultfd
  int stop_ = -1;                  ///< an eventfd: the thread is to end
  std::byte* probe_ = nullptr;     ///< a page of our own, watched: what is_changing() asks about
  std::size_t fork_slot_ = ~0ull;  ///< where a child finds `events_`
  std::array<Slot, kWatchesMax> slots_;
  // The thread writes, the owner reads: between two equal and even values of turns_ nothing moved.
  std::atomic<std::uint64_t> turns_{0};
  std::array<Range, kDiscardedMax> discarded_;
  std::atomic<bool> too_many_discarded_{false};
  std::thread thread_;
};

}  // namespace shoal
