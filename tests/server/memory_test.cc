#include "server/store/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <vector>

#include "core/base/random.h"
#include "server/store/segment.h"

namespace shoal {
namespace {

TEST(MemoryBudget, RefusesWhatDoesNotFitAndSaysSo) {
  MemoryBudget budget(1000);
  ASSERT_TRUE(budget.take(600, "a").ok());
  const auto refused = budget.take(401, "a page");
  ASSERT_EQ(refused.code(), Errc::no_memory);
  EXPECT_NE(refused.error().what.find("a page"), std::string::npos);
  budget.give(600);
  EXPECT_TRUE(budget.take(1000, "a").ok());
  EXPECT_EQ(budget.take(~std::uint64_t{0}, "all").code(), Errc::no_memory);
}

TEST(SegmentPool, PinnedMemoryOutlivesItsOwner) {
  HostDevice device;
  MemoryBudget budget(std::uint64_t{1} << 30);
  SegmentPool pool(device, budget);
  auto* memory = pool.take(5000).value();
  std::memset(memory->data, 7, 5000);
  SegmentPool::pin(*memory);
  SegmentPool::pin(*memory);
  pool.give(memory);
  auto* other = pool.take(5000).value();
  EXPECT_NE(other, memory) << "reused while it was pinned";
  std::memset(other->data, 9, 5000);
  EXPECT_FALSE(pool.unpin(*memory));
  EXPECT_EQ(static_cast<int>(memory->data[4999]), 7);
  EXPECT_TRUE(pool.unpin(*memory)) << "the last pin of memory that its owner left";
  EXPECT_EQ(pool.take(5000).value(), memory);
}

TEST(SegmentPool, BlocksOfManySizesAreApart) {
  HostDevice device;
  MemoryBudget budget(std::uint64_t{1} << 30);
  SegmentPool pool(device, budget);
  std::map<std::byte*, std::size_t> taken;
  for (std::size_t i = 0; i < 300; ++i) {
    const auto bytes = 1 + (i * 7919) % 300000;
    auto* memory = pool.take(bytes).value();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory->data) % 64, 0u);
    const auto after = taken.lower_bound(memory->data);
    if (after != taken.end()) {
      EXPECT_LE(memory->data + bytes, after->first);
    }
    if (after != taken.begin()) {
      EXPECT_LE(std::prev(after)->first + std::prev(after)->second, memory->data);
    }
    taken.emplace(memory->data, bytes);
  }
}

/// Blocks of one size that are written to, so that they are there.
std::vector<SegmentMemory*> fill(SegmentPool& pool, std::size_t bytes, std::size_t count) {
  std::vector<SegmentMemory*> blocks;
  for (std::size_t i = 0; i < count; ++i) {
    blocks.push_back(pool.take(bytes).value());
    std::memset(blocks.back()->data, 5, bytes);
  }
  return blocks;
}

/// Pages of the process that are in memory and belong to nobody but it.
std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0, resident = 0, shared = 0;
  file >> size >> resident >> shared;
  return (resident - shared) * 4096;
}

constexpr std::size_t kMiB = std::size_t{1} << 20;

/// Tables come and go, each with segments of another size.
TEST(SegmentPool, WhatItHoldsStaysWithinTheBudget) {
  HostDevice device;
  MemoryBudget budget(8 * kMiB);
  SegmentPool pool(device, budget);
  [[maybe_unused]] const auto before = resident_bytes();
  for (std::size_t table = 0; table < 40; ++table) {
    const auto bytes = (64 - table) * 4096;
    const auto count = 6 * kMiB / bytes;
    ASSERT_TRUE(budget.take(count * bytes, "a table").ok());
    for (auto* block : fill(pool, bytes, count)) pool.give(block);
    budget.give(count * bytes);
    ASSERT_LE(budget.held(), budget.limit());
  }
  EXPECT_GE(budget.held(), 5 * kMiB) << "what the last left is kept for the next";
#ifndef SHOAL_SANITIZED  // They keep books.
  EXPECT_LT(resident_bytes(), before + 80 * kMiB) << "of 240 MiB that passed through";
#endif
  pool.trim();
  EXPECT_EQ(budget.held(), 0u);
}

/// Of two tables that grew side by side one goes: every chunk has blocks of the other.
TEST(SegmentPool, ChunksInUseGiveTheirFreePages) {
  constexpr std::size_t kBytes = 64 << 10;
  HostDevice device;
  MemoryBudget budget(32 * kMiB);
  SegmentPool pool(device, budget);
  const auto blocks = fill(pool, kBytes, 32 * kMiB / kBytes);
  for (std::size_t i = 0; i < blocks.size(); i += 2) pool.give(blocks[i]);
  SegmentPool::pin(*blocks[1]);
  pool.give(blocks[1]);
  pool.trim();
  EXPECT_EQ(budget.held(), budget.limit()) << "no chunk is free as a whole";
  const auto others = fill(pool, 3 * kBytes, 14 * kMiB / (3 * kBytes));
  EXPECT_LE(budget.held(), budget.limit());
  for (std::size_t i = 1; i < blocks.size(); i += 2)
    ASSERT_EQ(static_cast<int>(blocks[i]->data[kBytes - 1]), 5) << "owned or pinned";
  EXPECT_TRUE(pool.unpin(*blocks[1]));
  // They can be had again.
  for (auto* block : others) pool.give(block);
  EXPECT_EQ(fill(pool, kBytes, 16 * kMiB / kBytes).size(), 16 * kMiB / kBytes);
  EXPECT_LE(budget.held(), budget.limit());
}

/// What is used again and again is not given back for ever while what nobody wants stays.
TEST(SegmentPool, WhatNobodyWantsIsGivenBackInTheEnd) {
  HostDevice device;
  MemoryBudget budget(16 * kMiB);
  SegmentPool pool(device, budget);
  for (auto* block : fill(pool, 5 * 4096, 8 * kMiB / (5 * 4096))) pool.give(block);
  const std::size_t sizes[] = {2 * 4096, 3 * 4096, 4 * 4096};
  std::vector<SegmentMemory*> taken[3];
  std::size_t discarded = 0;
  for (int round = 0; round < 20; ++round) {
    for (std::size_t s = 0; s < 3; ++s) {
      const auto held = budget.held();
      taken[s] = fill(pool, sizes[s], 5 * kMiB / sizes[s]);
      if (round >= 10) discarded += held > budget.held() ? 1 : 0;
      for (auto* block : taken[s]) pool.give(block);
      ASSERT_LE(budget.held(), budget.limit());
      if (round >= 10) discarded += budget.held() != held ? 1 : 0;
    }
  }
  EXPECT_EQ(discarded, 0u) << "15 MiB of 16 were needed";
}

TEST(SegmentPool, GivesBackForTheIndexToo) {
  HostDevice device;
  MemoryBudget budget(16 * kMiB);
  SegmentPool pool(device, budget);
  for (auto* block : fill(pool, 4096, 16 * kMiB / 4096)) pool.give(block);
  budget.hold(4 * kMiB);
  EXPECT_LE(budget.held(), budget.limit());
  budget.release(4 * kMiB);
}

TEST(Arena, LendsRunsThatDoNotOverlapUntilItIsFull) {
  HostDevice device;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    auto arena = Arena::create(device, 100 * Arena::kGranule).value();
    std::map<std::byte*, std::size_t> lent;
    std::size_t granules = 0;
    for (int step = 0; step < 2000; ++step) {
      if (lent.empty() || random.chance(0.6)) {
        const auto bytes = 1 + random.below(20 * Arena::kGranule);
        const auto wanted = (bytes + Arena::kGranule - 1) / Arena::kGranule;
        auto* data = arena.take(bytes);
        if (data == nullptr) {
          // Then no gap between what is lent is wide enough.
          std::size_t widest = 0;
          const std::byte* end = lent.empty() ? nullptr : lent.begin()->first;
          for (const auto& [at, size] : lent) {
            widest = std::max<std::size_t>(widest, static_cast<std::size_t>(at - end));
            end = at + (size + Arena::kGranule - 1) / Arena::kGranule * Arena::kGranule;
          }
          EXPECT_LT(widest / Arena::kGranule, wanted);
          continue;
        }
        const auto after = lent.lower_bound(data);
        if (after != lent.end()) {
          ASSERT_LE(data + bytes, after->first);
        }
        if (after != lent.begin()) {
          ASSERT_LE(std::prev(after)->first + std::prev(after)->second, data);
        }
        lent.emplace(data, bytes);
        granules += wanted;
      } else {
        auto at = lent.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(random.below(lent.size())));
        arena.give(at->first, at->second);
        granules -= (at->second + Arena::kGranule - 1) / Arena::kGranule;
        lent.erase(at);
      }
      ASSERT_EQ(arena.used(), granules * Arena::kGranule);
    }
    for (const auto& [at, bytes] : lent) arena.give(at, bytes);
    EXPECT_NE(arena.take(100 * Arena::kGranule), nullptr);
    EXPECT_EQ(arena.take(1), nullptr);
  }
}

}  // namespace
}  // namespace shoal
