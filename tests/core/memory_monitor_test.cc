#include "core/memory/memory_monitor.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

namespace shoal {
namespace {

const std::size_t kPage = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

std::byte* map(std::size_t pages, int flags = kAnonymous, std::byte* at = nullptr, int fd = -1) {
  void* mapped = ::mmap(at, pages * kPage, PROT_READ | PROT_WRITE, flags, fd, 0);
  return mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
}

class MemoryMonitorTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = MemoryMonitor::create();
    if (!made.ok()) GTEST_SKIP() << made.error().message();
    monitor = std::move(made).value();
  }
  /// What was heard is dealt with.
  void settle() const {
    while (monitor->turns() % 2 != 0) std::this_thread::yield();
  }
  MemoryMonitor::Watch watch(std::byte* data, std::size_t pages) {
    settle();
    auto made = monitor->watch({data, pages * kPage});
    EXPECT_TRUE(made.ok()) << made.error().message();
    return made.ok() ? *made : MemoryMonitor::Watch{};
  }
  /// What it says once nothing is going on.
  bool intact(const MemoryMonitor::Watch& watch) const {
    settle();
    return monitor->intact(watch);
  }

  std::unique_ptr<MemoryMonitor> monitor;
};

TEST_F(MemoryMonitorTest, WhatStaysIsIntact) {
  auto* memory = map(8);
  const auto whole = watch(memory, 8);
  memory[0] = std::byte{1};
  EXPECT_TRUE(intact(whole));
  ASSERT_EQ(::mprotect(memory, kPage, PROT_READ), 0);
  EXPECT_TRUE(intact(whole));
  EXPECT_FALSE(monitor->intact({}));
  ::munmap(memory, 8 * kPage);
}

TEST_F(MemoryMonitorTest, Unmapped) {
  auto* memory = map(8);
  auto whole = watch(memory, 8);
  auto first = watch(memory, 1);
  auto last = watch(memory + 7 * kPage, 1);
  ::munmap(memory + 3 * kPage, kPage);
  EXPECT_FALSE(intact(whole));
  EXPECT_TRUE(intact(first));
  EXPECT_TRUE(intact(last));
  ASSERT_EQ(map(1, kAnonymous | MAP_FIXED, memory + 3 * kPage), memory + 3 * kPage);
  EXPECT_FALSE(intact(whole)) << "other pages are there now";
  monitor->forget(whole);
  EXPECT_FALSE(whole.valid());
  const auto again = watch(memory, 8);
  EXPECT_TRUE(intact(again));
  ASSERT_EQ(map(2, kAnonymous | MAP_FIXED, memory), memory);
  EXPECT_FALSE(intact(again)) << "mapped over";
  EXPECT_FALSE(intact(first));
  EXPECT_TRUE(intact(last));
  ::munmap(memory, 8 * kPage);
  EXPECT_FALSE(intact(last));
}

TEST_F(MemoryMonitorTest, Moved) {
  auto* memory = map(4);
  auto* room = map(8);
  const auto moved = watch(memory, 4);
  auto* now = static_cast<std::byte*>(
      ::mremap(memory, 4 * kPage, 4 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, room));
  ASSERT_EQ(now, room);
  EXPECT_FALSE(intact(moved));
  const auto there = watch(now, 4);
  EXPECT_TRUE(intact(there));
  ASSERT_EQ(::mremap(now, 4 * kPage, 3 * kPage, 0), now);
  EXPECT_FALSE(intact(there)) << "it has shrunk";
  const auto left = watch(now, 3);
  auto* kept = ::mremap(now, 3 * kPage, 3 * kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, nullptr);
  ASSERT_NE(kept, MAP_FAILED);
  EXPECT_FALSE(intact(left)) << "its pages are elsewhere";
  ::munmap(kept, 3 * kPage);
  ::munmap(room, 8 * kPage);
}

TEST_F(MemoryMonitorTest, DiscardedPagesAreNotWatchedBeforeTheyWereUnmapped) {
  auto* memory = map(8);
  auto whole = watch(memory, 8);
  const auto beside = watch(memory + 6 * kPage, 2);
  ASSERT_EQ(::madvise(memory + 2 * kPage, 2 * kPage, MADV_DONTNEED), 0);
  EXPECT_FALSE(intact(whole));
  EXPECT_TRUE(intact(beside));
  const auto again = monitor->watch({memory + 3 * kPage, 1});
  EXPECT_EQ(again.code(), Errc::unavailable);
  monitor->forget(whole);
  EXPECT_FALSE(monitor->watch({memory + 3 * kPage, 1}).ok()) << "whoever watches";
  EXPECT_TRUE(intact(watch(memory, 2)));
  ::munmap(memory + kPage, 4 * kPage);
  ASSERT_EQ(map(4, kAnonymous | MAP_FIXED, memory + kPage), memory + kPage);
  EXPECT_TRUE(intact(watch(memory + kPage, 4)));
  ::munmap(memory, 8 * kPage);
}

TEST_F(MemoryMonitorTest, MoreDiscardedThanCanBeNoted) {
  constexpr std::size_t kPages = 1200;
  auto* memory = map(kPages);
  (void)watch(memory, kPages);
  for (std::size_t i = 0; i < kPages; i += 2)
    ASSERT_EQ(::madvise(memory + i * kPage, kPage, MADV_DONTNEED), 0);
  auto* other = map(1);
  EXPECT_FALSE(monitor->watch({other, kPage}).ok()) << "nobody knows what was discarded";
  ::munmap(memory, kPages * kPage);
  ::munmap(other, kPage);
}

TEST_F(MemoryMonitorTest, MemoryOfTheHeap) {
#if defined(SHOAL_SANITIZED) && !defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "AddressSanitizer keeps what is freed for a while";
#endif
  std::vector<std::byte> large(40u << 20);  // more than malloc ever keeps
  const auto vector = monitor->watch({large.data(), large.size()});
  ASSERT_TRUE(vector.ok()) << vector.error().message();
  EXPECT_TRUE(intact(*vector));
  std::vector<std::byte>().swap(large);
  EXPECT_FALSE(intact(*vector));
}

TEST_F(MemoryMonitorTest, OthersMemoryIsRefused) {
  const int file = ::memfd_create("monitor", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, static_cast<::off_t>(2 * kPage)), 0);
  auto* shared = map(2, MAP_SHARED, nullptr, file);
  auto* copied = map(2, MAP_PRIVATE, nullptr, file);
  auto* anonymous = map(2, MAP_SHARED | MAP_ANONYMOUS);
  for (auto* memory : {shared, copied, anonymous})
    EXPECT_EQ(monitor->watch({memory, kPage}).code(), Errc::unavailable);
  for (auto* memory : {shared, copied, anonymous}) ::munmap(memory, 2 * kPage);
  EXPECT_FALSE(monitor->watch({shared, kPage}).ok()) << "unmapped";
  ::close(file);
}

TEST_F(MemoryMonitorTest, OneWatcherAPage) {
  auto other = MemoryMonitor::create();
  ASSERT_TRUE(other.ok()) << other.error().message();
  auto* memory = map(2);
  auto ours = watch(memory, 1);
  EXPECT_FALSE((*other)->watch({memory, kPage}).ok());
  monitor->forget(ours);
  auto theirs = (*other)->watch({memory, 2 * kPage});
  ASSERT_TRUE(theirs.ok()) << theirs.error().message();
  EXPECT_TRUE((*other)->intact(*theirs));
  ::munmap(memory, 2 * kPage);
  EXPECT_FALSE((*other)->intact(*theirs));
}

TEST_F(MemoryMonitorTest, ForgettingLeavesWhatOthersCover) {
  auto* memory = map(12);
  auto left = watch(memory, 6);
  const auto middle = watch(memory + 4 * kPage, 4);
  auto right = watch(memory + 7 * kPage, 5);
  monitor->forget(left);
  monitor->forget(right);
  EXPECT_TRUE(intact(middle));
  ::munmap(memory, 4 * kPage);
  EXPECT_TRUE(intact(middle));
  ::munmap(memory + 5 * kPage, kPage);
  EXPECT_FALSE(intact(middle));
  ::munmap(memory, 12 * kPage);
}

TEST_F(MemoryMonitorTest, AsManyAsThereMayBe) {
  auto* memory = map(2 * MemoryMonitor::kWatchesMax + 2);
  std::vector<MemoryMonitor::Watch> watches;
  for (std::size_t i = 0; i < MemoryMonitor::kWatchesMax; ++i)
    watches.push_back(watch(memory + 2 * i * kPage, 1));
  auto* last = memory + 2 * MemoryMonitor::kWatchesMax * kPage;
  EXPECT_EQ(monitor->watch({last, 1}).code(), Errc::overloaded);
  monitor->forget(watches[7]);
  EXPECT_TRUE(intact(watch(last, 1)));
  ::munmap(memory, (2 * MemoryMonitor::kWatchesMax + 2) * kPage);
  for (const auto& one : watches) EXPECT_FALSE(intact(one));
}

/// A child that lives on must not keep the parent's calls waiting, once nobody hears of them.
TEST_F(MemoryMonitorTest, AChildHearsNothing) {
  auto* memory = map(4);
  const auto whole = watch(memory, 4);
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const auto child = ::fork();
  if (child == 0) {
    ::close(pipe[1]);
    ::munmap(memory, kPage);
    char byte = 0;
    (void)!::read(pipe[0], &byte, 1);
    ::_exit(0);
  }
  ::close(pipe[0]);
  EXPECT_TRUE(intact(whole)) << "the child unmapped its own";
  monitor.reset();
  ::munmap(memory, 4 * kPage);
  ::close(pipe[1]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

/// The address is somebody else's as soon as it is free, while the call that freed it waits to be
/// heard: whoever has got it must never be told that the memory is what it was.
TEST_F(MemoryMonitorTest, NeverIntactOnceItIsAnothers) {
  constexpr int kRounds = 1000;
  constexpr std::size_t kPages = 4;
  auto* memory = map(kPages);
  std::atomic<int> round{0};
  std::thread unmapper([&] {
    for (int i = 1; i <= kRounds; ++i) {
      while (round.load() < i) std::this_thread::yield();
      ::munmap(memory, kPages * kPage);
    }
  });
  int stale = 0, intact_before = 0, watched = 0;
  for (int i = 1; i <= kRounds; ++i) {
    auto old = monitor->watch({memory, kPages * kPage});
    watched += old.ok() ? 1 : 0;
    if (old.ok() && monitor->intact(*old)) ++intact_before;
    round.store(i);
    for (int tries = 1; map(kPages, kAnonymous | MAP_FIXED_NOREPLACE, memory) != memory; ++tries)
      if (tries % 64 == 0) std::this_thread::yield();
    if (old.ok() && monitor->intact(*old)) ++stale;
    if (old.ok()) monitor->forget(*old);
  }
  unmapper.join();
  EXPECT_EQ(stale, 0);
  EXPECT_GT(intact_before, 0) << watched << " watched";
  ::munmap(memory, kPages * kPage);
}

}  // namespace
}  // namespace shoal
