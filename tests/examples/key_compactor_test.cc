#include "examples/sparse_lr/key_compactor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/base/random.h"

namespace shoal::sparse_lr {
namespace {

void expect_compact(KeyCompactor& compactor, const std::vector<Key>& entries) {
  compactor.compact(entries);
  const std::set<Key> distinct(entries.begin(), entries.end());
  EXPECT_TRUE(std::ranges::equal(compactor.keys(), distinct));
  ASSERT_EQ(compactor.columns().size(), entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i)
    ASSERT_EQ(compactor.keys()[compactor.columns()[i]], entries[i]);
}

TEST(KeyCompactor, SmallCases) {
  KeyCompactor compactor;
  for (const std::vector<Key>& entries : {std::vector<Key>{},
                                          {5},
                                          {5, 5, 5},
                                          {3, 1, 2},
                                          {0},
                                          {~Key{0}, 0, ~Key{0} - 1},
                                          {Key{1} << 63, 1, Key{1} << 32, 1 << 11, (1 << 11) - 1}})
    expect_compact(compactor, entries);
}

TEST(KeyCompactor, ManyBatchesThroughOneObject) {
  KeyCompactor compactor;
  Random random(1);
  for (int batch = 0; batch < 200; ++batch) {
    const auto bits = random.below(64);
    std::vector<Key> entries(random.below(5000));
    for (auto& key : entries) key = random.next() >> bits;
    expect_compact(compactor, entries);
  }
}

TEST(KeyCompactor, AllocatesNothingOnceItHasSeenTheLargest) {
  KeyCompactor compactor;
  std::vector<Key> entries(10000);
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i] = mix64(i);
  compactor.compact(entries);
  compactor.compact(entries);
  const auto* keys = compactor.keys().data();
  const auto* columns = compactor.columns().data();
  for (auto& key : entries) key = mix64(key);
  compactor.compact(entries);
  EXPECT_EQ(compactor.keys().data(), keys);
  EXPECT_EQ(compactor.columns().data(), columns);
}

}  // namespace
}  // namespace shoal::sparse_lr
