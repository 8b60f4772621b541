// A worker that runs far ahead of the others: what it keeps for the clocks that it has ended, and
// that nothing of them is lost.

#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

class Ticks : public EngineTest {
 protected:
  void ticks(std::size_t worker, int count) {
    for (int i = 0; i < count; ++i) tick(worker);
    run(milliseconds(10));
  }
  float value_at_end(std::size_t worker) {
    const auto pulled = pull(worker, 0, seconds(20));
    EXPECT_EQ(wait(worker, pulled).code, Errc::ok) << engine(worker).operation(pulled).detail;
    return memory_.back()->front();
  }
  void expect_settled(WorkerClock clock) {
    EXPECT_TRUE(until([&] { return engine(0).unfinished() + engine(1).unfinished() == 0; }));
    EXPECT_EQ(engine(0).reported(), clock);
    EXPECT_EQ(engine(1).reported(), clock);
  }
};

TEST_F(Ticks, AWorkerThatIsFarAheadKeepsAFewRequests) {
  constexpr int kTicks = 20'000;
  start(2, {dense("t", Apply::collective), dense("u", Apply::collective, 3)});
  for (int i = 0; i < kTicks; ++i) {
    tick(0);
    if (i % 50 == 49) run(microseconds(200));
    ASSERT_LE(engine(0).unfinished(), 32u);
  }
  for (int i = 0; i < kTicks; ++i) tick(1);
  expect_settled(WorkerClock(kTicks));
  EXPECT_EQ(value_at_end(1), 0.0f);
}

/// Each push lies between clocks that were put off, and the clocks come to the servers in order.
TEST_F(Ticks, PushesBetweenClocksThatWerePutOffAreInTheirRounds) {
  start(2, {dense("t", Apply::collective)});
  for (const auto rows :
       {RowRange{0, kRows}, RowRange{0, 1}, RowRange{0, 20}, RowRange{0, kRows}}) {
    ticks(0, 5);
    push(0, 0, rows);
  }
  const auto flushed = flush(0, seconds(60));
  ticks(0, 5);
  EXPECT_FALSE(done(0, flushed));
  for (int i = 0; i < 25; ++i) {
    if (i == 20) {
      run(milliseconds(100));
      EXPECT_TRUE(done(0, flushed));
    }
    push(1, 0);
    ticks(1, 1);
  }
  expect_settled(WorkerClock(25));
  EXPECT_EQ(value_at_end(0), 4.0f + 25.0f);
}

TEST_F(Ticks, ACancelledPushBetweenThemIsASettledRoundToo) {
  start(2, {dense("t", Apply::collective)});
  ticks(0, 6);
  const auto pushed = push(0, 0);
  ticks(0, 6);
  cancel(0, pushed);
  EXPECT_EQ(wait(0, pushed).code, Errc::cancelled);
  ticks(1, 12);
  expect_settled(WorkerClock(12));
  EXPECT_EQ(value_at_end(0), 0.0f);
}

TEST_F(Ticks, APushBehindThemSaysForWhomItWaits) {
  start(2, {dense("t", Apply::collective)});
  ticks(0, 6);
  const auto pushed = push(0, 0);
  ticks(1, 1);
  const auto& op = wait(0, pushed);
  EXPECT_EQ(op.code, Errc::timed_out);
  EXPECT_NE(op.detail.find("at clock 6 waits for every worker to finish the clocks below 5"),
            std::string::npos)
      << op.detail;
}

TEST_F(Ticks, TheyEndWithTheirTable) {
  start(2, {dense("t", Apply::collective)});
  ticks(0, 100);
  EXPECT_EQ(engine(0).reported(), WorkerClock(2));  // the window takes two
  EXPECT_EQ(wait(1, drop_table(1, 0, seconds(5))).code, Errc::ok);
  EXPECT_TRUE(until([&] { return engine(0).reported() == WorkerClock(100); }));
  EXPECT_EQ(engine(0).unfinished(), 0u);
}

TEST_F(Ticks, TheyEndWhenTheWorkerIsOut) {
  start(2, {dense("t", Apply::collective)});
  ticks(0, 100);
  EXPECT_EQ(wait(0, leave(0, seconds(5))).code, Errc::ok);
  EXPECT_TRUE(until([&] { return engine(0).unfinished() == 0; }));
}

}  // namespace
}  // namespace shoal::test
