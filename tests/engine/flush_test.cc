// A flush waits for the pushes that were issued before it, and for no others.

#include <array>

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Flush : public EngineTest {
 protected:
  /// Of worker 0, and of a clock to which worker 1 has not come: it lasts until that one ticks.
  OperationId long_pull() {
    tick(0);
    run(milliseconds(10));
    return pull(0, 0, seconds(60));
  }
};

TEST_F(Flush, APushThatComesAfterItIsNotWaitedFor) {
  start(2, {dense("t", Apply::on_arrival)});
  const std::array after{long_pull()};
  const auto flushed = flush(0, seconds(5));
  EXPECT_EQ(wait(0, flushed).code, Errc::ok) << "an open pull is no push";

  network_.stop(server_node_);
  const auto before = push(0, 0);
  const auto waits = flush(0, seconds(5));
  const auto behind = push(0, 0, {0, kRows}, after);
  run(milliseconds(100));
  EXPECT_FALSE(done(0, waits));
  network_.resume(server_node_);
  EXPECT_EQ(wait(0, waits).code, Errc::ok) << engine(0).operation(waits).detail;
  EXPECT_TRUE(done(0, before));
  EXPECT_FALSE(done(0, behind));
}

TEST_F(Flush, APushOfAnEarlierClockIsWaitedForAndTheOneBehindIsNotCounted) {
  start(2, {dense("t", Apply::on_arrival)});
  const std::array after{long_pull()};
  const auto before = push(0, 0, {0, kRows}, after);
  tick(0);
  const auto late = flush(0, seconds(1));
  const auto waits = flush(0, seconds(60));
  const auto behind = push(0, 0, {0, kRows}, after);
  const auto& op = wait(0, late);
  EXPECT_EQ(op.code, Errc::timed_out);
  EXPECT_NE(op.detail.find("of 1 pushes"), std::string::npos) << op.detail;
  EXPECT_NE(op.detail.find("; 1 were not sent"), std::string::npos) << op.detail;
  EXPECT_FALSE(done(0, waits));
  tick(1);
  EXPECT_EQ(wait(0, waits).code, Errc::ok) << engine(0).operation(waits).detail;
  EXPECT_TRUE(done(0, before));
  wait(0, behind);
}

}  // namespace
}  // namespace shoal::test
