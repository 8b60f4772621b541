#include "server/store/sparse_index.h"

#include <gtest/gtest.h>

#include <unordered_map>
#include <vector>

#include "core/base/random.h"

namespace shoal {
namespace {

class SparseIndexTest : public testing::Test {
 protected:
  std::uint32_t put(SparseIndex& index, const std::vector<std::uint64_t>& keys,
                    std::vector<std::uint32_t>& positions) {
    positions.resize(keys.size());
    index.find(keys, positions);
    return index.insert_absent(keys, positions, static_cast<std::uint32_t>(index.size())).value();
  }
  HostDevice device;
  MemoryBudget budget{std::uint64_t{1} << 30};
};

TEST_F(SparseIndexTest, HoldsEveryKeyValue) {
  SparseIndex index(device, budget, 0);
  EXPECT_EQ(index.find(0), SparseIndex::kAbsent);
  const std::vector<std::uint64_t> keys = {0, ~std::uint64_t{0}, 1, 0, 0x8000000000000000};
  std::vector<std::uint32_t> positions;
  EXPECT_EQ(put(index, keys, positions), 4u);
  EXPECT_EQ(positions, (std::vector<std::uint32_t>{0, 1, 2, 0, 3}));
  EXPECT_EQ(index.find(~std::uint64_t{0}), 1u);
  EXPECT_EQ(index.find(2), SparseIndex::kAbsent);
}

/// Against std::unordered_map, in batches of every size, with keys that repeat and keys that share
/// a slot's hash bits.
TEST_F(SparseIndexTest, AgreesWithAMap) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const auto slot_bits = static_cast<unsigned>(random.below(8));
    SparseIndex index(device, budget, slot_bits);
    std::unordered_map<std::uint64_t, std::uint32_t> model;
    // Wide enough that the slot has some keys of it.
    const std::uint64_t range = std::uint64_t{1} << (4 + slot_bits + random.below(16));
    const auto draw = [&]() -> std::uint64_t {
      for (;;) {
        const auto key =
            random.chance(0.01) ? ~std::uint64_t{0} - random.below(3) : random.below(range);
        if (slot_bits == 0 || mix64(key) >> (64 - slot_bits) == 0) return key;
      }
    };
    std::vector<std::uint32_t> positions;
    for (int batch = 0; batch < 60; ++batch) {
      std::vector<std::uint64_t> keys(random.below(400));
      for (auto& key : keys) key = draw();
      if (random.chance(0.3)) {
        positions.resize(keys.size());
        index.find(keys, positions);
        for (std::size_t i = 0; i < keys.size(); ++i) {
          const auto at = model.find(keys[i]);
          ASSERT_EQ(positions[i], at == model.end() ? SparseIndex::kAbsent : at->second);
        }
        continue;
      }
      const auto before = model.size();
      for (const auto key : keys) model.emplace(key, static_cast<std::uint32_t>(model.size()));
      ASSERT_EQ(put(index, keys, positions), model.size() - before);
      for (std::size_t i = 0; i < keys.size(); ++i) ASSERT_EQ(positions[i], model.at(keys[i]));
    }
    ASSERT_EQ(index.size(), model.size());
    for (const auto& [key, position] : model) ASSERT_EQ(index.find(key), position);
    index.clear();
    for (const auto& [key, position] : model) ASSERT_EQ(index.find(key), SparseIndex::kAbsent);
  }
  EXPECT_EQ(budget.used(), 0u) << "indices give their memory back";
}

TEST_F(SparseIndexTest, CostsAtMostTwentyBytesAKey) {
  SparseIndex index(device, budget, 4);
  std::vector<std::uint64_t> keys;
  std::vector<std::uint32_t> positions;
  std::uint64_t worst = 0;
  for (std::uint64_t next = 0; index.size() < 200000;) {
    keys.clear();
    while (keys.size() < 97) {
      if (mix64(next) >> 60 == 3) keys.push_back(next);
      ++next;
    }
    put(index, keys, positions);
    if (index.size() > 1000) worst = std::max(worst, 1000 * index.memory_bytes() / index.size());
  }
  EXPECT_LE(worst, 20100u);
  EXPECT_EQ(budget.used(), index.memory_bytes());
}

TEST_F(SparseIndexTest, ABudgetThatIsFullLeavesItAsItWas) {
  MemoryBudget small(64u << 10);
  SparseIndex index(device, small, 0);
  std::vector<std::uint32_t> positions;
  std::vector<std::uint64_t> keys(100);
  std::uint64_t next = 0;
  for (;;) {
    for (auto& key : keys) key = next++;
    positions.resize(keys.size());
    index.find(keys, positions);
    const auto first = static_cast<std::uint32_t>(index.size());
    const auto inserted = index.insert_absent(keys, positions, first);
    if (!inserted.ok()) {
      EXPECT_EQ(inserted.code(), Errc::no_memory);
      break;
    }
  }
  EXPECT_EQ(index.size(), next - 100);
  for (std::uint64_t key = 0; key < next; ++key)
    ASSERT_EQ(index.find(key),
              key < next - 100 ? static_cast<std::uint32_t>(key) : SparseIndex::kAbsent);
}

}  // namespace
}  // namespace shoal
