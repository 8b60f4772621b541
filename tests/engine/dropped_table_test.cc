// Calls that name a table which somebody has dropped.

#include <array>

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using DroppedTable = EngineTest;

/// Nothing is kept of the table but its shape, while calls on it wait for what they follow.
TEST_F(DroppedTable, CallsThatFollowOthersWaitForThemAndFail) {
  start(2, {dense("rounds", Apply::collective), dense("sums", Apply::on_arrival)});
  tick(0);
  run(milliseconds(10));
  const std::array after{pull(0, 1, seconds(60))};  // waits for the other worker
  const auto before = push(0, 0, {0, kRows / 2}, after);
  EXPECT_EQ(wait(1, drop_table(1, 0, seconds(5))).code, Errc::ok);
  EXPECT_EQ(wait(0, before).code, Errc::unknown_name) << engine(0).operation(before).detail;

  const auto pushed = push(0, 0, {0, kRows}, after);
  memory_.push_back(std::make_unique<std::vector<float>>(kRows));
  Engine::Ask ask;
  ask.kind = OperationKind::pull;
  ask.table = tables_[0];
  ask.rows = {0, kRows};
  ask.target = host_view(std::span(*memory_.back()));
  ask.after = after;
  ask.ahead = 1;
  const auto pulled = submit(0, std::move(ask), seconds(60));
  run(milliseconds(10));
  EXPECT_FALSE(done(0, pushed));
  EXPECT_EQ(engine(0).operation(pulled).phase.load(), Operation::kPending) << "no tick would help";
  tick(0);
  tick(1);
  for (const auto id : {pushed, pulled})
    EXPECT_EQ(wait(0, id).code, Errc::unknown_name) << engine(0).operation(id).detail;
  EXPECT_EQ(engine(0).operation(after[0]).code, Errc::ok);
  EXPECT_TRUE(until([&] { return engine(0).reported() == WorkerClock(2); }));
  EXPECT_EQ(engine(0).unfinished(), 0u);
}

}  // namespace
}  // namespace shoal::test
