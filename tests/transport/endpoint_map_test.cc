#include "transport/endpoint_map.h"

#include <gtest/gtest.h>

#include <unordered_map>

#include "core/base/random.h"

namespace shoal {
namespace {

/// Beside std::unordered_map, under ids that are alike in their low bits, as those of TCP are.
TEST(EndpointMap, HoldsWhatIsPutIn) {
  Random random(7);
  EndpointMap<std::uint64_t> map;
  std::unordered_map<EndpointId, std::uint64_t> model;
  for (std::uint64_t step = 0; step < 200'000; ++step) {
    const EndpointId id((random.next() % 300 << 32) + random.next() % 3);
    if (random.next() % 2 == 0)
      map[id] = model[id] = step;
    else
      EXPECT_EQ(map.erase(id), model.erase(id) == 1);
    const EndpointId other((random.next() % 300 << 32) + random.next() % 3);
    const auto* found = map.find(other);
    ASSERT_EQ(found != nullptr, model.contains(other));
    if (found != nullptr) {
      ASSERT_EQ(*found, model[other]);
    }
    ASSERT_EQ(map.size(), model.size());
  }
  std::size_t seen = 0;
  for (const auto& [id, value] : map) {
    EXPECT_EQ(model.at(id), value);
    ++seen;
  }
  EXPECT_EQ(seen, model.size());
}

TEST(EndpointMap, AnEmptyOneFindsNothing) {
  EndpointMap<int> map;
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.find(EndpointId(1)), nullptr);
  EXPECT_FALSE(map.erase(EndpointId(1)));
}

}  // namespace
}  // namespace shoal
