// The scheduler dies and comes back with its state directory: training goes on, exactly.

#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"

namespace shoal::e2e {
namespace {

using SchedulerFaults = EndToEnd;

TEST_F(SchedulerFaults, KilledAndRestartedMidTrainingNothingIsLost) {
  start_cluster({.servers = 2, .workers = 2, .state = true});
  all("open t rows=1000 rule=add");  // BSP: each round needs the scheduler's global clock
  for (int i = 0; i < 2; ++i) worker(i).send("train t 60 rows=0:1000");
  for (const auto* round : {"round 10 ", "round 25 "}) {
    ASSERT_TRUE(worker(0).read_until(round));
    scheduler().kill();
    restart_scheduler();
  }
  for (int i = 0; i < 2; ++i) EXPECT_OK(worker(i).reply());
  all("pull p t rows=0:1000");
  all("wait p");
  for (int i = 0; i < 2; ++i) {
    const auto values = worker(i).call("values p");
    EXPECT_EQ(values.number("min"), 120);
    EXPECT_EQ(values.number("max"), 120);
  }
}

TEST_F(SchedulerFaults, WhileItIsAwayWhatNeedsItWaitsAndTheRestGoesOn) {
  start_cluster({.servers = 1, .workers = 2, .state = true});
  all("open async rows=100 rule=add staleness=unbounded");
  all("open bsp rows=100 rule=add");
  // The server knows of both tables, as of the workers, before nobody can tell it any more.
  all("pull p bsp rows=0:100");
  all("wait p");
  scheduler().kill();
  // Pushes and unbounded pulls need no scheduler.
  EXPECT_OK(worker(0).call("train async 5 rows=0:100"));
  // A new table, a barrier and a round of BSP do.
  worker(1).send("open new rows=10 rule=add staleness=unbounded");
  EXPECT_OK(worker(0).call("pull p bsp rows=0:100"));
  EXPECT_FAILED(worker(0).call("wait p for=50ms"), "not_ready");
  restart_scheduler();
  EXPECT_OK(worker(1).reply());
  for (int i = 0; i < 5; ++i) EXPECT_OK(worker(1).call("tick"));
  EXPECT_OK(worker(0).call("wait p"));
  all("barrier");
  auto& late = start_worker_connected();
  EXPECT_OK(late.call("open async rows=100 rule=add staleness=unbounded"));
  EXPECT_OK(late.call("pull p async rows=0:100"));
  EXPECT_OK(late.call("wait p"));
  EXPECT_EQ(late.call("values p").number("sum"), 500);
}

TEST_F(SchedulerFaults, CallsThatNeedItEndAtTheirDeadlineWhenItStaysAway) {
  start_cluster({.servers = 1, .workers = 2});
  all("open t rows=10");
  scheduler().kill();
  worker(1).send("barrier timeout=300ms");
  EXPECT_OK(worker(0).call("tick"));
  EXPECT_OK(worker(0).call("pull p t rows=0:10 timeout=300ms"));
  EXPECT_FAILED(worker(0).call("wait p"), "timed_out", "the scheduler cannot be reached");
  EXPECT_FAILED(worker(1).reply(), "timed_out", scheduler_address());
}

TEST_F(SchedulerFaults, ThatComesBackWithoutItsStateSaysSo) {
  start_cluster({.servers = 1, .workers = 1});
  all("open t rows=10 rule=add staleness=unbounded");
  scheduler().kill();
  restart_scheduler();
  EXPECT_FAILED(worker(0).call("barrier timeout=20s"), "fenced",
                "without the state of the cluster that this process joined");
  EXPECT_OK(worker(0).call("push p t rows=0:10"));
  EXPECT_FAILED(worker(0).call("wait p"), "fenced", "without the state of the cluster");
}

TEST_F(SchedulerFaults, StoppedForAWhileCutsNobodyOff) {
  start_cluster({.servers = 1,
                 .workers = 2,
                 .settings = {{"SHOAL_WORKER_LEASE", "3s"}, {"SHOAL_SERVER_LEASE", "3s"}}});
  all("open t rows=100 rule=add");
  EXPECT_OK(worker(0).call("train t 1 rows=0:100", std::chrono::seconds(30)));
  EXPECT_OK(worker(0).call("pull p t rows=0:100 timeout=4s"));
  scheduler().stop();
  EXPECT_FAILED(worker(0).call("wait p"), "timed_out");  // longer than the lease
  scheduler().go_on();
  EXPECT_OK(worker(1).call("train t 1 rows=0:100"));
  all("train t 5 rows=0:100");
  all("pull p t rows=0:100");
  all("wait p");
  EXPECT_EQ(worker(0).call("values p").number("sum"), 1200);
  EXPECT_EQ(worker(0).call("clock").number("workers"), 2);
}

}  // namespace
}  // namespace shoal::e2e
