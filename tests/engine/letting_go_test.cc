// What an operation says of itself when it is cancelled between two tries.

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

}  // namespace
}  // namespace shoal::test
