// A worker whose view is old learns the new one from the server that tells it so: the scheduler
// need not be there.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::seconds;

class StaleView : public EngineTest {
 protected:
  /// Worker 0 does not hear that worker 1 dropped table 0.
  void drop_behind_its_back() {
    start(2, {dense("t", Apply::on_arrival, unbounded), dense("u", Apply::on_arrival, unbounded)});
    network_.partition(node(0), scheduler_node_);
    before_ = engine(0).view()->epoch;
    EXPECT_EQ(wait(1, drop_table(1, 0, seconds(20))).code, Errc::ok);
    run(seconds(1));
    ASSERT_EQ(engine(0).view()->epoch, before_);
  }
  Epoch before_;
};

TEST_F(StaleView, TheServersIsTakenWhereTheSchedulerIsAway) {
  drop_behind_its_back();
  const auto& pulled = wait(0, pull(0, 0, seconds(20)));
  EXPECT_EQ(pulled.code, Errc::unknown_name) << pulled.detail;
  EXPECT_NE(pulled.detail.find("dropped"), std::string::npos) << pulled.detail;
  EXPECT_GT(engine(0).view()->epoch, before_);
  EXPECT_EQ(wait(0, push(0, 1)).code, Errc::ok);
  // Who would have asked again is gone: nobody spins for it.
  run(seconds(1));
  EXPECT_GT(engine(0).next_timer(), network_.now());
}

TEST_F(StaleView, PushesUnderWayEndWithIt) {
  drop_behind_its_back();
  const auto first = push(0, 0);
  const auto second = push(0, 0);
  EXPECT_EQ(wait(0, first).code, Errc::unknown_name);
  EXPECT_EQ(wait(0, second).code, Errc::unknown_name);
  tick(0);
  run(seconds(1));
  EXPECT_EQ(engine(0).reported(), engine(0).clock());
  EXPECT_EQ(engine(0).unfinished(), 0u);
}

}  // namespace
}  // namespace shoal::test
