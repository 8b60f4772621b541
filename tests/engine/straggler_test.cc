// A pull that comes to its deadline names the worker that it waits for at that time.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Straggler : public EngineTest {
 protected:
  std::string late(std::size_t worker, OperationId id) {
    const auto& op = wait(worker, id);
    EXPECT_EQ(op.code, Errc::timed_out) << op.detail;
    return op.detail;
  }
  std::string explain(std::size_t worker) {
    Engine::Ask ask;
    ask.kind = OperationKind::explain;
    return wait(worker, submit(worker, std::move(ask), seconds(1))).detail;
  }
  std::string named(std::size_t worker) {
    return "held back by worker " + std::to_string(worker) + " ('trainer " +
           std::to_string(worker) + "', node " + std::to_string(id(worker).value) + ")";
  }
};

void expect_says(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\n  does not say: " << part;
}

TEST_F(Straggler, IsTheOneThatHoldsTheClockBackAtTheDeadline) {
  start(3, {dense("t", Apply::per_clock)});
  // G stays at 0 throughout; who holds it back changes.
  tick(0);
  const auto first = pull(0, 0, seconds(1));
  run(milliseconds(300));
  tick(1);
  expect_says(late(0, first), named(2) + ", which is at clock 0");
  expect_says(engine(0).operation(first).detail, "the clocks below 1; the global clock is 0");

  // Once more, with the others' parts exchanged: worker 2 catches up and 1 stays behind.
  tick(2);
  tick(0);
  ASSERT_TRUE(until([&] { return servers_[0]->server->link().global_clock() == WorkerClock(1); }));
  const auto second = pull(0, 0, seconds(1));
  run(milliseconds(300));
  tick(2);
  expect_says(late(0, second), named(1) + ", which is at clock 1");
}

TEST_F(Straggler, SaysHowManyOthersThereAre) {
  start(4, {dense("t", Apply::on_arrival)});
  tick(1);
  expect_says(late(1, pull(1, 0, seconds(1))), ", and 2 others");
}

TEST_F(Straggler, OfACollectiveRoundIsWhoHasNotContributed) {
  start(3, {dense("t", Apply::collective)});
  push(0, 0);
  push(1, 0);  // but does not tick: it holds G back as worker 2 does
  tick(0);
  expect_says(late(0, pull(0, 0, seconds(1))), named(2) + ", which is at clock 0");
}

TEST_F(Straggler, WithoutTheSchedulersWordThePullEndsInItsGrace) {
  start(2, {dense("t", Apply::per_clock)});
  tick(0);
  const auto begin = network_.now();
  const auto id = pull(0, 0, seconds(1));
  run(milliseconds(500));
  network_.stop(scheduler_node_);
  expect_says(late(0, id), "held back by");
  EXPECT_LE(network_.now() - begin, seconds(1) + milliseconds(510));
  // The question is still under way. It is no hindrance to the next pull, nor to the session.
  network_.resume(scheduler_node_);
  expect_says(late(0, pull(0, 0, seconds(1))), named(1));
}

TEST_F(Straggler, OneQuestionServesAllPullsOfAWorker) {
  start(2, {dense("t", Apply::per_clock)});
  tick(0);
  std::vector<OperationId> pulls;
  for (int i = 0; i < 20; ++i) pulls.push_back(pull(0, 0, seconds(1)));
  run(milliseconds(999));
  network_.stop(scheduler_node_);
  run(milliseconds(100));
  expect_says(explain(0), "1 requests unanswered");
  network_.resume(scheduler_node_);
  for (const auto id : pulls) expect_says(late(0, id), named(1));
}

TEST_F(Straggler, APullThatWasNotSentSaysWhy) {
  start(2, {dense("t", Apply::per_clock)});
  tick(0);
  const auto first = pull(0, 0, seconds(20));
  Engine::Ask ask;
  ask.kind = OperationKind::pull;
  ask.table = tables_[0];
  ask.rows = {0, 1};
  float value = 0;
  ask.target = host_view(std::span(&value, 1));
  ask.after = {&first, 1};
  expect_says(late(0, submit(0, std::move(ask), seconds(1))), "what it comes after");
}

}  // namespace
}  // namespace shoal::test
