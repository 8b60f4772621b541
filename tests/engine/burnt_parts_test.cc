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

}  // namespace
}  // namespace shoal::test
