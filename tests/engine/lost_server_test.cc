// A server is lost while pushes over several servers are under way: the others' slots go on, and
// the worker's clock with them.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LostServer : public EngineTest {
 protected:
  void start_two() {
    options_.servers_expected = 2;
    options_.lost_after = seconds(3);
    auto spec = dense("t", Apply::on_arrival, unbounded);
    spec.slots = 2;
    start(1, {spec});
    survivor_ = tables_[0]->geometry.rows_of(SlotIndex(1));
  }
  /// Both stand still with a push over both in front of them; then server 0 dies.
  void lose_one_under_a_push() {
    start_two();
    EXPECT_EQ(wait(0, push(0, 0)).code, Errc::ok);
    for (auto& server : servers_) network_.stop(server->node);
    const auto over_both = push(0, 0);
    run(milliseconds(5));
    kill_server(0);
    EXPECT_EQ(wait(0, over_both).code, Errc::slot_lost);
    network_.resume(servers_[1]->node);
    run(seconds(2));
  }
  void expect_the_survivor_goes_on() {
    const auto pushed = push(0, 0, survivor_);
    EXPECT_EQ(wait(0, pushed).code, Errc::ok) << engine(0).operation(pushed).detail;
    tick(0);
    run(seconds(5));
    EXPECT_EQ(engine(0).reported(), engine(0).clock());
    EXPECT_EQ(engine(0).unfinished(), 0u);
  }
  RowRange survivor_;
};

TEST_F(LostServer, IsNamedAndSoIsTheWayOut) {
  start_two();
  const auto who = "its only server, 'server0' at server0:8000 (node ";
  network_.stop(servers_[0]->node);
  const auto under_way = push(0, 0);
  run(milliseconds(5));
  kill_server(0);
  for (const auto id : {under_way, pull(0, 0, seconds(20))}) {
    const auto& op = wait(0, id);
    EXPECT_EQ(op.code, Errc::slot_lost);
    EXPECT_NE(op.detail.find(who), std::string::npos) << op.detail;
    EXPECT_NE(op.detail.find("drop the table, create it anew"), std::string::npos) << op.detail;
  }
  const auto& later = wait(0, pull(0, 0, seconds(20)));
  EXPECT_EQ(later.code, Errc::slot_lost);
  EXPECT_NE(later.detail.find(who), std::string::npos) << later.detail;
}

TEST_F(LostServer, BurnsWhatTheOthersHaveNotApplied) {
  engine_options_.eager_bytes_max = engine_options_.answer_bytes_max = 0;  // lent
  lose_one_under_a_push();
  expect_the_survivor_goes_on();
}

TEST_F(LostServer, BurnsEagerPushesToo) {
  lose_one_under_a_push();
  expect_the_survivor_goes_on();
}

TEST_F(LostServer, BurnsWhatWasNeverSent) {
  start_two();
  network_.partition(node(0), servers_[1]->node);
  network_.drop_connections(node(0), servers_[1]->node);
  network_.stop(servers_[0]->node);
  run(milliseconds(100));
  const auto over_both = push(0, 0);
  run(milliseconds(5));
  kill_server(0);
  EXPECT_EQ(wait(0, over_both).code, Errc::slot_lost);
  network_.heal_all();
  expect_the_survivor_goes_on();
}

}  // namespace
}  // namespace shoal::test
