#include <gtest/gtest.h>

#include <unordered_map>
#include <vector>

#include "core/base/random.h"
#include "cuda/index_entries.h"
#include "server/store/sparse_index.h"
#include "tests/kernels/host_target.h"

namespace shoal {
namespace {

using Entries = cuda::IndexEntries<test::OnHost>;
using cuda::IndexSlot;

class Index {
 public:
  explicit Index(std::uint64_t slots) { grow(slots); }
  void grow(std::uint64_t slots) {
    std::vector<IndexSlot> larger(slots + 1);
    const cuda::IndexTable to{larger.data(), slots};
    if (slots_.empty())
      Entries::clear(to, nullptr);
    else
      Entries::rehash(table_, to, nullptr);
    slots_.swap(larger);
    table_ = {slots_.data(), slots};
  }
  std::vector<std::uint32_t> find(const std::vector<std::uint64_t>& keys) const {
    std::vector<std::uint32_t> positions(keys.size(), 77);
    Entries::find(table_, keys.data(), keys.size(), positions.data(), nullptr);
    return positions;
  }
  std::vector<std::uint32_t> insert(const std::vector<std::uint64_t>& keys, std::uint32_t first_new,
                                    std::uint32_t& added) {
    std::vector<std::uint32_t> positions(keys.size(), 77), found(keys.size()),
        is_new(keys.size() + 1, 77), ranks(keys.size() + 1, 77);
    Entries::insert(table_, keys.data(), keys.size(), positions.data(), first_new,
                    {found.data(), is_new.data(), ranks.data(), {}}, nullptr);
    added = ranks.back();
    return positions;
  }
  void erase(const std::vector<std::uint64_t>& keys) {
    Entries::erase(table_, keys.data(), keys.size(), nullptr);
  }

 private:
  std::vector<IndexSlot> slots_;
  cuda::IndexTable table_;
};

/// Few of them, so that lists repeat them; the largest and the smallest key among them.
std::vector<std::uint64_t> some_keys(Random& random, std::size_t count, std::uint64_t of) {
  std::vector<std::uint64_t> keys(count);
  for (auto& key : keys) {
    const auto x = random.below(of);
    key = x == 0 ? ~std::uint64_t{0} : x == 1 ? 0 : mix64(x) >> (x % 3 == 0 ? 40 : 0);
  }
  return keys;
}

TEST(IndexOnHost, GivesThePositionsThatTheHostsIndexGives) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    HostDevice host;
    MemoryBudget budget(std::uint64_t{1} << 30);
    SparseIndex expected(host, budget, 0);
    Index index(1250);  // 0.8 of it in the end
    std::uint32_t next = 0;
    for (int round = 0; round < 30; ++round) {
      const auto keys = some_keys(random, random.below(200), 1000);
      std::vector<std::uint32_t> positions(keys.size());
      ASSERT_TRUE(expected.find(keys, positions));
      ASSERT_EQ(index.find(keys), positions);
      const auto added = expected.insert_absent(keys, positions, next).value();
      std::uint32_t added_here = 77;
      ASSERT_EQ(index.insert(keys, next, added_here), positions);
      ASSERT_EQ(added_here, added);
      next += added;
    }
  }
}

TEST(IndexOnHost, ErasesAndGrows) {
  Random random(3);
  Index index(700);
  std::unordered_map<std::uint64_t, std::uint32_t> expected;
  std::uint64_t slots = 700;
  std::uint32_t next = 0;
  for (int round = 0; round < 60; ++round) {
    const auto keys = some_keys(random, 100, 2000);
    // What was erased keeps its slot until the index grows: there is room for all that ever came.
    slots += 100;
    if (round % 2 == 1) index.grow(slots);
    std::uint32_t added = 0;
    const auto positions = index.insert(keys, next, added);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const auto [at, is_new] = expected.try_emplace(keys[i], next);
      next += is_new;
      ASSERT_EQ(positions[i], at->second);
    }
    std::vector<std::uint64_t> gone(keys.begin(), keys.begin() + 30);
    gone.push_back(0x1234567);  // never there
    index.erase(gone);
    for (const auto key : gone) expected.erase(key);
    for (const auto key : some_keys(random, 300, 2000)) {
      const auto at = expected.find(key);
      ASSERT_EQ(index.find({key})[0], at == expected.end() ? IndexSlot::kNone : at->second);
    }
  }
}

TEST(IndexOnHost, FindsNothingInAnEmptyOne) {
  const Index index(1);
  EXPECT_EQ(index.find({0, ~std::uint64_t{0}, 5}), std::vector<std::uint32_t>(3, IndexSlot::kNone));
  EXPECT_TRUE(index.find({}).empty());
}

}  // namespace
}  // namespace shoal
