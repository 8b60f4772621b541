// Workers that die, stop, leave and come: the others go on, by the rules.

#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"

namespace shoal::e2e {
namespace {

using WorkerFaults = EndToEnd;

/// Waited for by each test that has it, so short; but the living must not be silent for so long.
constexpr const char* kShortLease = "3s";

TEST_F(WorkerFaults, KilledWorkerHoldsOthersBackForALeaseOnly) {
  start_cluster({.servers = 2, .workers = 3, .settings = {{"SHOAL_WORKER_LEASE", kShortLease}}});
  all("open t rows=1000 rule=add");
  all("train t 3 rows=0:1000");
  worker(2).kill();
  for (int i = 0; i < 2; ++i) worker(i).send("train t 10 rows=0:1000");
  for (int i = 0; i < 2; ++i) EXPECT_OK(worker(i).reply());
  EXPECT_OK(worker(0).call("pull p t rows=0:1000"));
  EXPECT_OK(worker(0).call("wait p"));
  const auto values = worker(0).call("values p");
  EXPECT_EQ(values.number("min"), 3 * 3 + 2 * 10);
  EXPECT_EQ(values.number("max"), 3 * 3 + 2 * 10);
  EXPECT_EQ(worker(0).call("clock").number("workers"), 2);
}

TEST_F(WorkerFaults, KilledInACollectiveRoundTheRoundEndsWithoutIt) {
  start_cluster({.servers = 1, .workers = 2, .settings = {{"SHOAL_WORKER_LEASE", kShortLease}}});
  all("open t rows=1000 apply=collective");
  all("push_pull p t rows=0:1000 value=2");
  all("wait p");
  EXPECT_EQ(worker(0).call("values p").number("sum"), 4000);
  all("tick");
  worker(1).kill();
  EXPECT_OK(worker(0).call("push_pull p t rows=0:1000 value=2"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_EQ(worker(0).call("values p").number("sum"), 6000);
}

TEST_F(WorkerFaults, StoppedBeyondItsLeaseIsFencedAndHarmsNobody) {
  start_cluster({.servers = 1, .workers = 2, .settings = {{"SHOAL_WORKER_LEASE", kShortLease}}});
  all("open t rows=100 rule=add");
  worker(1).stop();
  EXPECT_OK(worker(0).call("train t 5 rows=0:100"));  // goes on once the lease has ended
  worker(1).go_on();
  EXPECT_OK(worker(1).call("push p t rows=0:100 value=1000"));
  EXPECT_FAILED(worker(1).call("wait p"), "fenced");
  EXPECT_FAILED(worker(1).call("barrier"), "fenced");
  EXPECT_OK(worker(0).call("train t 1 rows=0:100"));
  EXPECT_OK(worker(0).call("pull p t rows=0:100"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_EQ(worker(0).call("values p").number("sum"), 600);
}

TEST_F(WorkerFaults, StoppedWithinItsLeaseLosesNothing) {
  start_cluster({.servers = 1, .workers = 2});
  all("open t rows=100 rule=add");
  worker(1).send("train t 10 rows=0:100");
  worker(1).stop();
  EXPECT_OK(worker(0).call("pull p t rows=0:100"));
  EXPECT_OK(worker(0).call("wait p"));
  worker(1).go_on();
  EXPECT_OK(worker(0).call("train t 10 rows=0:100"));
  EXPECT_OK(worker(1).reply());
  all("pull p t rows=0:100");
  all("wait p");
  EXPECT_EQ(worker(1).call("values p").number("sum"), 2000);
}

TEST_F(WorkerFaults, StoppedWorkerIsNamedByThoseWhoWait) {
  start_cluster({.servers = 1, .workers = 3, .settings = {{"SHOAL_CANCEL_GRACE", "10s"}}});
  all("open t rows=10");
  worker(2).stop();
  for (int i = 0; i < 2; ++i) {
    EXPECT_OK(worker(i).call("tick"));
    EXPECT_OK(worker(i).call("open t rows=10"));  // its answer comes behind the tick
  }
  EXPECT_OK(worker(0).call("pull p t rows=0:10 timeout=300ms"));
  const auto reply = worker(0).call("wait p");
  EXPECT_FAILED(reply, "timed_out", "held back by worker 2 (");
  EXPECT_TRUE(reply.says("which is at clock 0")) << reply.text;
  worker(2).go_on();
  EXPECT_OK(worker(2).call("tick"));
  EXPECT_OK(worker(0).call("pull p t rows=0:10"));
  EXPECT_OK(worker(0).call("wait p"));
}

TEST_F(WorkerFaults, WhoLeavesHoldsNobodyBack) {
  // Leases of minutes: only the leaving itself can be why the others go on.
  start_cluster({.servers = 1, .workers = 3, .settings = {{"SHOAL_WORKER_LEASE", "5min"}}});
  all("open t rows=100 rule=add");
  EXPECT_OK(worker(2).call("push p t rows=0:100 value=7"));
  EXPECT_OK(worker(2).call("leave"));  // its push counts
  worker(1).send("barrier");
  worker(0).send("barrier");
  EXPECT_OK(worker(0).reply());
  EXPECT_OK(worker(1).reply());
  worker(1).send("quit");  // the destructor leaves too
  EXPECT_EQ(worker(1).wait_exit(), 0);
  EXPECT_OK(worker(0).call("train t 4 rows=0:100"));
  EXPECT_OK(worker(0).call("pull p t rows=0:100"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_EQ(worker(0).call("values p").number("sum"), 700 + 400);
  EXPECT_FALSE(worker(2).call("push p t rows=0:100").ok && worker(2).call("wait p").ok)
      << "who has left cannot push any more";
}

TEST_F(WorkerFaults, LateJoinerStartsBeyondTheWindowAndIsWaitedFor) {
  start_cluster({.servers = 1, .workers = 1, .settings = {{"SHOAL_WORKER_LEASE", "5min"}}});
  EXPECT_OK(worker(0).call("open t rows=100 rule=add"));
  EXPECT_OK(worker(0).call("train t 5 rows=0:100"));
  auto& late = start_worker();
  const auto joined = late.call("connect");
  EXPECT_OK(joined);
  EXPECT_EQ(joined.number("rank"), 1);
  const auto start = joined.number("clock");
  EXPECT_GT(start, 5) << "at G + W, where no round was folded without it";
  EXPECT_OK(late.call("open t rows=100 rule=add"));
  // It holds back nobody before its first clock, and the rounds from then on wait for it.
  const auto rounds = static_cast<int>(start - 5);
  EXPECT_OK(worker(0).call("train t " + std::to_string(rounds) + " rows=0:100"));
  EXPECT_OK(worker(0).call("tick"));
  EXPECT_OK(worker(0).call("pull p t rows=0:100 timeout=300ms"));
  EXPECT_FAILED(worker(0).call("wait p"), "timed_out", "held back by");
  EXPECT_OK(late.call("train t 1 rows=0:100"));
  EXPECT_OK(worker(0).call("pull p t rows=0:100"));
  EXPECT_OK(worker(0).call("wait p"));
  EXPECT_EQ(worker(0).call("values p").number("sum"), 100 * (5 + rounds + 1));
  // When it goes, its rank is free for the next.
  EXPECT_OK(late.call("leave"));
  auto& next = start_worker();
  EXPECT_EQ(next.call("connect").number("rank"), 1);
}

TEST_F(WorkerFaults, KilledMidPushTheOthersSeeWholePartsOnly) {
  start_cluster({.servers = 2, .workers = 2, .settings = {{"SHOAL_WORKER_LEASE", kShortLease}}});
  all("open t rows=1048576 rule=add staleness=unbounded");
  worker(1).send("flood 8 push t rows=0:1048576 value=1");
  ASSERT_OK(worker(1).reply());
  worker(1).kill();
  EXPECT_OK(worker(0).call("train t 3 rows=0:1048576"));
  EXPECT_OK(worker(0).call("pull p t rows=0:1048576"));
  EXPECT_OK(worker(0).call("wait p"));
  const auto values = worker(0).call("values p");
  EXPECT_GE(values.number("min"), 3);
  EXPECT_LE(values.number("max"), 3 + 8);
}

TEST_F(WorkerFaults, BarrierCountsThoseWhoDieAsArrived) {
  start_cluster({.servers = 1, .workers = 3, .settings = {{"SHOAL_WORKER_LEASE", kShortLease}}});
  worker(0).send("barrier");
  worker(1).send("barrier");
  worker(2).kill();
  EXPECT_OK(worker(0).reply());
  EXPECT_OK(worker(1).reply());
}

TEST_F(WorkerFaults, BarrierEndsAtItsDeadline) {
  start_cluster({.servers = 1, .workers = 2, .settings = {{"SHOAL_CANCEL_GRACE", "10s"}}});
  EXPECT_FAILED(worker(0).call("barrier timeout=300ms"), "timed_out", "(workers 1)");
  // The one who gave up does not count as arrived.
  EXPECT_FAILED(worker(1).call("barrier timeout=300ms"), "timed_out", "(workers 0)");
  all("barrier");
}

}  // namespace
}  // namespace shoal::e2e
