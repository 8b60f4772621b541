// Barriers that some give up: who has gone away is not counted as arrived.

#include "core/base/random.h"
#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Barriers : public EngineTest {
 protected:
  Errc code(std::size_t worker, OperationId id) { return wait(worker, id).code; }
};

TEST_F(Barriers, WhoTimedOutIsNotThere) {
  start(2);
  const auto given_up = barrier(0, seconds(1));
  EXPECT_EQ(code(0, given_up), Errc::timed_out);
  EXPECT_NE(engine(0).operation(given_up).detail.find("(workers 1)"), std::string::npos)
      << engine(0).operation(given_up).detail;
  const auto second = barrier(1, seconds(60));
  run(seconds(5));
  EXPECT_FALSE(done(1, second)) << "it opened with one who had gone away";
  EXPECT_EQ(code(0, barrier(0, seconds(60))), Errc::ok);
  EXPECT_EQ(code(1, second), Errc::ok);
}

TEST_F(Barriers, WhoIsCancelledIsNotThere) {
  start(2);
  const auto first = barrier(0, seconds(60));
  run(milliseconds(10));
  cancel(0, first);
  EXPECT_EQ(code(0, first), Errc::cancelled);
  const auto second = barrier(1, seconds(60));
  run(seconds(5));
  EXPECT_FALSE(done(1, second));
}

TEST_F(Barriers, WithoutAnAnswerTheGraceEndsIt) {
  start(2);
  const auto first = barrier(0, seconds(1));
  run(milliseconds(500));
  network_.stop(scheduler_node_);
  const auto before = network_.now();
  EXPECT_EQ(code(0, first), Errc::timed_out);
  EXPECT_LE(network_.now() - before, seconds(1) + milliseconds(10));
  network_.resume(scheduler_node_);
  const auto second = barrier(1, seconds(60));
  run(seconds(5));
  EXPECT_FALSE(done(1, second));
  EXPECT_EQ(code(0, barrier(0, seconds(60))), Errc::ok);
  EXPECT_EQ(code(1, second), Errc::ok);
}

TEST_F(Barriers, GivenUpWithoutAConnectionIsNeverSent) {
  start(2);
  network_.partition(node(0), scheduler_node_);
  network_.drop_connections(node(0), scheduler_node_);
  run(milliseconds(200));
  EXPECT_EQ(code(0, barrier(0, seconds(1))), Errc::timed_out);
  network_.heal_all();
  const auto second = barrier(1, seconds(60));
  run(seconds(5));
  EXPECT_FALSE(done(1, second));
}

TEST_F(Barriers, AConnectionThatBreaksCountsOnce) {
  start(2);
  const auto first = barrier(0, seconds(60));
  run(milliseconds(10));
  network_.drop_connections(node(0), scheduler_node_);
  run(seconds(3));
  EXPECT_EQ(code(1, barrier(1, seconds(60))), Errc::ok);
  EXPECT_EQ(code(0, first), Errc::ok);
  const auto next = barrier(1, seconds(60));
  run(seconds(3));
  EXPECT_FALSE(done(1, next));
}

/// Deadlines that fall together with the others' arrivals: a barrier
/// opens for all or for nobody, so everybody counts the same.
TEST_F(Barriers, OpenForAllOrForNobody) {
  start(3);
  Random random(7);
  std::uint32_t opened[3] = {};
  std::uint32_t given_up = 0;
  std::optional<OperationId> pending[3];
  const auto settle = [&](bool again) {
    for (std::size_t w = 0; w < 3; ++w) {
      if (pending[w] && done(w, *pending[w])) {
        const auto result = engine(w).operation(*pending[w]).code;
        ASSERT_TRUE(result == Errc::ok || result == Errc::timed_out)
            << name_of(result) << ": " << engine(w).operation(*pending[w]).detail;
        ++(result == Errc::ok ? opened[w] : given_up);
        engine(w).drop(*pending[w]);
        pending[w].reset();
      }
      if (!pending[w] && again && random.chance(0.02))
        pending[w] = barrier(w, std::chrono::microseconds(1 + random.below(10000)));
    }
  };
  for (int i = 0; i < 40000; ++i) {
    settle(true);
    run(std::chrono::microseconds(100));
  }
  ASSERT_TRUE(until([&] {
    settle(false);
    return !pending[0] && !pending[1] && !pending[2];
  }));
  EXPECT_GT(opened[0], 20u);
  EXPECT_GT(given_up, 20u);
  EXPECT_EQ(opened[0], opened[1]);
  EXPECT_EQ(opened[0], opened[2]);
}

}  // namespace
}  // namespace shoal::test
