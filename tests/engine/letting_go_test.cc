// What an operation says of itself when it is cancelled between two tries.

#include <array>
#include <span>

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::microseconds;

using LettingGo = EngineTest;

TEST_F(LettingGo, APushOfWhichAPartWasAppliedIsNotCalledCancelled) {
  limits_.parts_max = 1;  // the first of four parts finds room to wait for its bytes
  engine_options_.eager_bytes_max = 0;
  auto spec = dense("t", Apply::on_arrival);
  spec.slots = 1;
  start(1, {spec});
  const auto pushed = push(0, 0);
  const auto applied = [&] { return servers_[0]->server->metrics().parts_applied; };
  ASSERT_TRUE(until([&] { return applied() == 1; }));
  run(microseconds(500));  // the answer is here, and the next try is not due
  ASSERT_EQ(applied(), 1u);
  cancel(0, pushed);
  const auto& op = wait(0, pushed);
  EXPECT_EQ(op.code, Errc::partly_applied) << op.detail;
  tick(0);
  run(std::chrono::seconds(1));
  EXPECT_EQ(applied(), 1u);
  EXPECT_EQ(engine(0).reported(), engine(0).clock());
}

/// The server stands still with the push and the only credit, so what burns the push is not sent
/// before the worker is cut off.
TEST_F(LettingGo, APushOfWhichNothingIsHeardIsNotCalledCancelled) {
  limits_.credits = 1;
  start(2, {dense("t", Apply::on_arrival)});
  network_.stop(server_node_);
  const auto pushed = push(0, 0);
  run(std::chrono::milliseconds(10));
  cancel(0, pushed);
  run(std::chrono::milliseconds(10));
  ASSERT_FALSE(done(0, pushed));
  EXPECT_EQ(wait(0, leave(0, std::chrono::seconds(1))).code, Errc::ok);
  const auto& op = wait(0, pushed);
  EXPECT_EQ(op.code, Errc::timed_out) << op.detail;
  // The loan has ended with the operation: the push comes too late.
  const ConstMemoryView memory = host_view(std::span(*memory_.back()));
  network_.protect(memory);
  network_.resume(server_node_);
  run(std::chrono::seconds(1));
  EXPECT_TRUE(network_.violations().empty());
  network_.unprotect(memory);
}

/// No tick would end the pull, whose server says nothing yet: the push waits for how it ends.
TEST_F(LettingGo, APushThatFollowsACancelledPullOfTheNextClockNeedsNoTick) {
  start(1, {dense("t", Apply::on_arrival)});
  wait(0, pull(0, 0, std::chrono::seconds(1)));
  const auto pulled = pull(0, 0, std::chrono::seconds(60), 1);
  run(std::chrono::milliseconds(10));
  network_.stop(server_node_);
  cancel(0, pulled);
  run(std::chrono::milliseconds(10));
  ASSERT_FALSE(done(0, pulled));
  EXPECT_EQ(engine(0).operation(pulled).phase.load(), Operation::kPending);
  const std::array after{pulled};
  const auto pushed = push(0, 0, {0, kRows}, after);
  run(std::chrono::milliseconds(10));
  EXPECT_FALSE(done(0, pushed));
  network_.resume(server_node_);
  EXPECT_EQ(wait(0, pulled).code, Errc::cancelled);
  EXPECT_EQ(wait(0, pushed).code, Errc::cancelled) << engine(0).operation(pushed).detail;
}

}  // namespace
}  // namespace shoal::test
