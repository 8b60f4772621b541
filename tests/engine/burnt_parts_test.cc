// The sequences of collective tables: nothing of a worker may stay without its number, or stand
// behind what waits for it, or every clock of the cluster stands.

#include <array>

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

using BurntParts = EngineTest;

/// The server has places for two of the four parts of a tick, so its answer holds burnt parts
/// beside parts that are to come again.
TEST_F(BurntParts, ATickOfWhichAPartFindsNoRoomIsRepeatedToItsEnd) {
  limits_.parts_max = 2;
  auto spec = dense("t", Apply::collective);
  spec.slots = 1;
  start(2, {spec});
  for (int i = 0; i < 4; ++i) {
    tick(0);
    run(milliseconds(20));
  }
  run(milliseconds(500));
  for (int i = 0; i < 4; ++i) {
    tick(1);
    run(milliseconds(200));
  }
  EXPECT_TRUE(until([&] { return engine(0).unfinished() + engine(1).unfinished() == 0; }));
  EXPECT_EQ(engine(0).reported(), WorkerClock(4));
  EXPECT_EQ(engine(1).reported(), WorkerClock(4));
  const auto pulled = pull(1, 0, seconds(20));
  EXPECT_EQ(wait(1, pulled).code, Errc::ok) << engine(1).operation(pulled).detail;
}

/// The push of clock 1 follows a pull that times out, while pushes of later clocks than the window
/// holds stand behind it: what is burnt of it goes before them.
TEST_F(BurntParts, APushThatFollowsInVainKeepsItsPlaceBeforeLaterClocks) {
  start(2, {dense("rounds", Apply::collective), dense("sums", Apply::on_arrival)});
  tick(0);
  run(milliseconds(50));
  const auto pulled = pull(0, 1, seconds(5));  // of clock 1, to which the other worker has not come
  const std::array after{pulled};
  const auto followed = push(0, 0, {0, kRows}, after);
  for (int i = 0; i < 3; ++i) tick(0);
  EXPECT_EQ(wait(0, pulled).code, Errc::timed_out);
  EXPECT_EQ(wait(0, followed).code, Errc::cancelled);
  for (int i = 0; i < 4; ++i) {
    tick(1);
    run(milliseconds(100));
  }
  EXPECT_TRUE(until([&] { return engine(0).unfinished() + engine(1).unfinished() == 0; }));
  EXPECT_EQ(engine(0).reported(), WorkerClock(4));
  const auto result = pull(1, 0, seconds(20));
  EXPECT_EQ(wait(1, result).code, Errc::ok) << engine(1).operation(result).detail;
}

TEST_F(BurntParts, ACancelledPushThatFollowsKeepsItsPlaceBeforeLaterPushes) {
  start(2, {dense("rounds", Apply::collective), dense("sums", Apply::on_arrival)});
  tick(0);
  run(milliseconds(50));
  const std::array after{pull(0, 1, seconds(60))};
  const auto followed = push(0, 0, {0, kRows}, after);
  for (int i = 0; i < 3; ++i) {
    tick(0);
    push(0, 0);
  }
  cancel(0, followed);
  EXPECT_EQ(wait(0, followed).code, Errc::cancelled);
  tick(0);
  for (int i = 0; i < 5; ++i) {
    push(1, 0);
    tick(1);
    run(milliseconds(100));
  }
  EXPECT_TRUE(until([&] { return engine(0).unfinished() + engine(1).unfinished() == 0; }));
  EXPECT_EQ(engine(0).reported(), WorkerClock(5));
}

}  // namespace
}  // namespace shoal::test
