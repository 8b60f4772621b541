// A server whose rows are on a device like a GPU. That all else holds there, too, is what
// engine_test shows with ON_LATE_DEVICE set (engine_on_late_device).

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LateServer : public EngineTest {
 protected:
  LateServer() { late_ = true; }
};

TEST_F(LateServer, AnswersWhenItsDeviceHasDoneTheWork) {
  start(1, {dense("t", Apply::on_arrival)});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(wait(0, push(0, 0)).code, Errc::ok);
  EXPECT_EQ(wait(0, pull(0, 0, seconds(5))).code, Errc::ok);
  for (const auto value : *memory_.back()) ASSERT_EQ(value, 3);
}

TEST_F(LateServer, SaysThatItsDeviceHasFailed) {
  start(1, {dense("t", Apply::on_arrival)});
  EXPECT_EQ(wait(0, push(0, 0)).code, Errc::ok);
  EXPECT_TRUE(server(0).status().ok());
  device(0).break_down();
  const auto pulled = pull(0, 0, seconds(2));
  run(milliseconds(100));
  EXPECT_EQ(server(0).status().code(), Errc::io);
  EXPECT_EQ(server(0).status().error().what, "a kernel touched memory that is not there");
  EXPECT_EQ(wait(0, pulled).code, Errc::timed_out);
}

TEST_F(LateServer, AcknowledgesNothingThatAFailedDeviceWasGiven) {
  start(1, {dense("t", Apply::on_arrival)});
  EXPECT_EQ(wait(0, push(0, 0)).code, Errc::ok);
  device(0).break_down();
  const auto stored = store(0, 0, seconds(2));
  run(milliseconds(100));
  EXPECT_EQ(server(0).status().code(), Errc::io) << "who pushes finds it out";
  EXPECT_EQ(wait(0, stored).code, Errc::timed_out);
}

}  // namespace
}  // namespace shoal::test
