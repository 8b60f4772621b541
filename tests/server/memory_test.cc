#include "server/store/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

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
  SegmentPool pool(device);
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
  SegmentPool pool(device);
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
