#include "server/store/list_room.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>

#include "core/base/random.h"
#include "tests/support/late_device.h"

namespace shoal {
namespace {

using test::LateDevice;
using test::PinnedHost;

TEST(ListRoom, OnTheHostEachListHasTheMemoryOfTheLast) {
  HostDevice host;
  auto room = ListRoom::create(host, host, 4096).value();
  auto* first = room.take<std::uint32_t>(100).data();
  room.end_of_use();
  EXPECT_EQ(room.take<std::uint32_t>(1024).data(), first);
  room.end_of_use();
  EXPECT_TRUE(room.take<std::uint32_t>(1025).empty());
}

/// Work that reads a list finds it as it was written, however late it runs.
TEST(ListRoom, NothingIsGivenBackBeforeItWasRead) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    LateDevice device;
    PinnedHost pinned;
    auto room = ListRoom::create(pinned, device, 2048).value();
    std::uint32_t number = 0, refused = 0, read = 0;
    for (int step = 0; step < 400; ++step) {
      const auto lists = 1 + random.below(2);
      bool taken = true;
      for (std::uint64_t l = 0; l < lists && taken; ++l) {
        const auto list = room.take<std::uint32_t>(1 + random.below(150));
        taken = !list.empty();
        if (!taken) break;
        std::fill(list.begin(), list.end(), ++number);
        device.issue([list, number, &read] {
          ++read;
          for (const auto value : list) ASSERT_EQ(value, number);
        });
      }
      room.end_of_use();
      if (!taken) ++refused;
      if (!taken || random.chance(0.4)) device.run(1 + random.below(4));
    }
    device.run_all();
    EXPECT_EQ(read, number);
    EXPECT_GT(refused, 0u);
    // All of it is free again.
    EXPECT_FALSE(room.take<std::byte>(2048).empty());
  }
}

}  // namespace
}  // namespace shoal
