// Operations that follow others (`after`) whose tickets are gone before they have ended.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Follow : public EngineTest {
 protected:
  void drop(OperationId id) {
    engine(0).drop(id);
    network_.wake(node(0));
  }
  /// Worker 1 never ticks, so a pull of worker 0 waits for it until its deadline.
  OperationId pull_that_fails() {
    start(2, {dense("t", Apply::on_arrival)});
    tick(0);
    return pull(0, 0, seconds(1));
  }
  void expect_cancelled(OperationId follower) {
    const auto& op = wait(0, follower);
    EXPECT_EQ(op.code, Errc::cancelled);
    EXPECT_NE(op.detail.find("held back by"), std::string::npos) << op.detail;
    EXPECT_EQ(servers_[0]->server->metrics().parts_applied, 0u);
  }
};

TEST_F(Follow, AFailureWhoseTicketIsGoneIsNotForgotten) {
  const auto first = pull_that_fails();
  const auto follower = push(0, 0, {0, kRows}, std::span(&first, 1));
  run(milliseconds(10));
  drop(first);
  expect_cancelled(follower);
}

TEST_F(Follow, NorIfItEndedBeforeTheLoopTookTheFollower) {
  const auto first = pull_that_fails();
  EXPECT_EQ(wait(0, first).code, Errc::timed_out);
  const auto follower = push(0, 0, {0, kRows}, std::span(&first, 1));
  drop(first);
  expect_cancelled(follower);
}

TEST_F(Follow, NorIfAnotherHasHadItsPlaceSince) {
  const auto first = pull_that_fails();
  EXPECT_EQ(wait(0, first).code, Errc::timed_out);
  drop(first);
  const auto second = push(0, 0, {0, kRows});
  EXPECT_EQ(second.index, first.index);
  EXPECT_EQ(wait(0, second).code, Errc::ok);
  drop(second);
  const auto follower = push(0, 0, {0, kRows}, std::span(&first, 1));
  const auto& op = wait(0, follower);
  EXPECT_EQ(op.code, Errc::cancelled);
  EXPECT_NE(op.detail.find("held back by"), std::string::npos) << op.detail;
}

TEST_F(Follow, WhatEndedWellLetsItsFollowersGo) {
  start(1, {dense("t", Apply::on_arrival)});
  const auto first = pull(0, 0, seconds(1));
  const auto second = push(0, 0, {0, kRows}, std::span(&first, 1));
  drop(first);
  const auto third = push(0, 0, {0, kRows}, std::span(&second, 1));
  EXPECT_EQ(wait(0, third).code, Errc::ok) << engine(0).operation(third).detail;
}

TEST_F(Follow, APushThatATickOvertakesIsInItsRound) {
  start(2, {dense("t", Apply::on_arrival), dense("c", Apply::collective)});
  tick(0);
  const auto first = pull(0, 0, seconds(10));  // until worker 1 has ended clock 0
  const auto follower = push(0, 1, {0, 8}, std::span(&first, 1));  // half a segment
  tick(0);
  run(milliseconds(100));
  EXPECT_FALSE(done(0, first));
  tick(1);
  tick(1);  // of the round, only the follower is missing now
  EXPECT_EQ(wait(0, follower).code, Errc::ok) << engine(0).operation(follower).detail;
  const auto round = pull(0, 1, seconds(10));
  EXPECT_EQ(wait(0, round).code, Errc::ok) << engine(0).operation(round).detail;
  EXPECT_EQ(memory_.back()->front(), 1.0f);
}

}  // namespace
}  // namespace shoal::test
