// Places of operations: one that ended while others did may be another's at once.

#include <array>
#include <optional>
#include <vector>

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;

using Places = EngineTest;

/// Three pushes come to the end of their grace together. The first lends to both servers, so the
/// connection that breaks first ends one of the others, whose tickets are gone; before the second
/// connection breaks, a call of a user's thread has that place.
TEST_F(Places, AnOperationThatIsNotHandedOverYetDoesNotEndForTheLastOneOfItsPlace) {
  options_.servers_expected = 2;
  start(1, {dense("t", Apply::on_arrival)});
  wait(0, push(0, 0));
  for (auto& machine : servers_) network_.stop(machine->node);
  const auto at_both = push(0, 0);
  const std::array at_one{push(0, 0, {0, 1}), push(0, 0, {kRows - 1, kRows})};
  run(milliseconds(10));
  for (const auto id : at_one) ASSERT_FALSE(engine(0).drop(id));
  network_.wake(node(0));

  std::optional<OperationId> next;
  on_close_ = [&] {
    for (const auto id : at_one)
      while (!next && engine(0).operation(id).phase.load() == Operation::kFree) {
        Engine::Ask ask;
        ask.kind = OperationKind::explain;
        const auto submitted = engine(0).submit(std::move(ask)).value();
        if (submitted.index == id.index) next = submitted;
      }
  };
  EXPECT_EQ(wait(0, at_both).code, Errc::timed_out);
  on_close_ = {};
  ASSERT_TRUE(next);
  const auto& op = wait(0, *next);
  EXPECT_EQ(op.code, Errc::ok) << op.detail;
  EXPECT_FALSE(op.detail.empty());
}

/// Their places are free, but what is burnt of them waits for the server.
TEST_F(Places, PushesThatFailAndAreNotSettledAreBounded) {
  start(1, {dense("t", Apply::on_arrival)});
  network_.stop(server_node_);
  const std::vector<float> values(kRows, 1.0f);
  const auto push_in_vain = [&] {
    Engine::Ask ask;
    ask.kind = OperationKind::push;
    ask.table = tables_[0];
    ask.rows = {0, kRows};
    ask.source = host_view(std::span(values));
    ask.deadline = network_.now() + milliseconds(1);
    const auto id = engine(0).submit(std::move(ask));
    network_.wake(node(0));
    if (id.ok()) {
      EXPECT_NE(wait(0, *id).code, Errc::ok);
      engine(0).drop(*id);
      network_.wake(node(0));
    }
    return id.code();
  };
  int taken = 0;
  while (push_in_vain() == Errc::ok) ASSERT_LE(++taken, 64);
  EXPECT_EQ(taken, 64);
  EXPECT_EQ(push_in_vain(), Errc::overloaded);
  EXPECT_LE(engine(0).unfinished(), 64u);
  network_.resume(server_node_);
  EXPECT_EQ(wait(0, flush(0, std::chrono::seconds(60))).code, Errc::ok);
  EXPECT_EQ(wait(0, push(0, 0)).code, Errc::ok);
  EXPECT_EQ(engine(0).unfinished(), 0u);
}

}  // namespace
}  // namespace shoal::test
