#include "core/consistency/clock_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "core/base/random.h"

namespace shoal {
namespace {

TEST(ClockTable, TheGlobalClockIsTheLeastReported) {
  ClockTable clocks;
  clocks.add(NodeId(1), WorkerClock(0));
  clocks.add(NodeId(2), WorkerClock(0));
  clocks.report(NodeId(1), WorkerClock(5));
  EXPECT_FALSE(clocks.advance());
  EXPECT_EQ(clocks.holder(), NodeId(2));
  clocks.report(NodeId(2), WorkerClock(3));
  EXPECT_TRUE(clocks.advance());
  EXPECT_FALSE(clocks.advance());
  EXPECT_EQ(clocks.global_clock(), WorkerClock(3));
  clocks.remove(NodeId(2));
  EXPECT_TRUE(clocks.advance());
  EXPECT_EQ(clocks.global_clock(), WorkerClock(5));
}

TEST(ClockTable, OldReportsAndStrangersChangeNothing) {
  ClockTable clocks;
  clocks.add(NodeId(1), WorkerClock(4));
  clocks.report(NodeId(1), WorkerClock(2));
  clocks.report(NodeId(9), WorkerClock(8));
  EXPECT_EQ(clocks.reported(NodeId(1)), WorkerClock(4));
  EXPECT_EQ(clocks.reported(NodeId(9)), std::nullopt);
  EXPECT_FALSE(clocks.contains(NodeId(9)));
}

TEST(ClockTable, AnEmptyRosterLeavesTheClock) {
  ClockTable clocks(WorkerClock(7));
  EXPECT_FALSE(clocks.advance());
  EXPECT_EQ(clocks.holder(), NodeId(0));
  clocks.add(NodeId(1), WorkerClock(9));
  EXPECT_TRUE(clocks.advance());
  clocks.remove(NodeId(1));
  EXPECT_FALSE(clocks.advance());
  EXPECT_EQ(clocks.global_clock(), WorkerClock(9));
}

TEST(ClockTable, DoesAsAPlainMapDoes) {
  Random random(3);
  ClockTable clocks;
  std::map<NodeId, WorkerClock> plain;
  WorkerClock global_clock;
  for (int i = 0; i < 20000; ++i) {
    const NodeId node(1 + static_cast<std::uint32_t>(random.below(40)));
    const auto ahead = static_cast<std::int64_t>(random.below(4));
    if (random.chance(0.05)) {
      clocks.remove(node);
      plain.erase(node);
    } else if (!plain.contains(node)) {
      if (random.chance(0.2)) {
        clocks.add(node, global_clock + ahead);
        plain[node] = global_clock + ahead;
      }
    } else {
      plain[node] = plain[node] + ahead;
      clocks.report(node, plain[node]);
    }
    const auto least =
        std::min_element(plain.begin(), plain.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    const bool rises = least != plain.end() && least->second > global_clock;
    ASSERT_EQ(clocks.advance(), rises);
    if (rises) global_clock = least->second;
    ASSERT_EQ(clocks.global_clock(), global_clock);
    ASSERT_EQ(clocks.size(), plain.size());
    if (plain.empty()) continue;
    ASSERT_EQ(plain.at(clocks.holder()), least->second);
    const auto holds = [&](const auto& entry) { return entry.second == least->second; };
    ASSERT_EQ(clocks.holders(), std::count_if(plain.begin(), plain.end(), holds));
  }
}

}  // namespace
}  // namespace shoal
