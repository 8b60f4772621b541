// `shoal status` and `shoal drop`: people's tools on a running cluster.

#include <gtest/gtest.h>

#include "tests/e2e/cluster.h"

namespace shoal::e2e {
namespace {

using Tools = EndToEnd;

TEST_F(Tools, AWatchOutlivesTheScheduler) {
  start_cluster({.servers = 1, .workers = 1, .state = true});
  auto& status = start_shoal({"status", "--watch"});
  ASSERT_TRUE(status.read_until("view 1.")) << status.log();
  scheduler().kill();
  EXPECT_TRUE(status.logged("no scheduler listens there")) << status.log();
  EXPECT_TRUE(status.logged("trying again until it answers")) << status.log();
  restart_scheduler();
  EXPECT_TRUE(status.read_until("view 2.")) << status.log();
}

TEST_F(Tools, ColumnsAreAsWideAsWhatStandsInThem) {
  start_cluster();
  start_worker_connected({{"SHOAL_NAME", "a worker whose name is as long as people's names are"}});
  auto& status = start_shoal({"status"});
  const auto heading = status.read_until("address");
  ASSERT_TRUE(heading);
  for (const auto* node : {"server 1", "a worker whose name"}) {
    const auto row = status.read_until(node);
    ASSERT_TRUE(row);
    EXPECT_EQ(row->find("alive"), heading->find("state")) << *heading << "\n" << *row;
  }
}

TEST_F(Tools, AServerIsNotTakenForTheScheduler) {
  start_cluster();
  const auto server = server_address(0);
  auto& status = start_shoal({"status", "--scheduler", server});
  EXPECT_EQ(status.wait_exit(), 1);
  EXPECT_TRUE(status.logged(server + " is the address of a server, not of the scheduler"));
  EXPECT_TRUE(status.logged(scheduler_address()));
}

TEST_F(Tools, ATableIsDroppedWhenNobodyUsesIt) {
  start_cluster();
  EXPECT_OK(worker(0).call("open t rows=10 rule=add"));
  auto& unknown = start_shoal({"drop", "tt"});
  EXPECT_EQ(unknown.wait_exit(), 1);
  EXPECT_TRUE(unknown.logged("there is no table 'tt' (did you mean 't'?)"));
  auto& refused = start_shoal({"drop", "t"});
  EXPECT_EQ(refused.wait_exit(), 1);
  EXPECT_TRUE(refused.logged("there are workers in the cluster (1)"));
  EXPECT_OK(worker(0).call("leave"));
  auto& dropped = start_shoal({"drop", "t", "t"});
  EXPECT_EQ(dropped.wait_exit(), 0);
  EXPECT_TRUE(dropped.read_until("dropped table 't'"));
  EXPECT_FALSE(dropped.read_until("dropped")) << "once";
  EXPECT_OK(start_worker_connected().call("open t rows=20 rule=max"));
}

TEST_F(Tools, ForceDropsATableThatIsInUse) {
  start_cluster();
  EXPECT_OK(worker(0).call("open t rows=10 rule=add"));
  EXPECT_EQ(start_shoal({"drop", "t", "--force"}).wait_exit(), 0);
  EXPECT_OK(worker(0).call("pull p t rows=0:10"));
  EXPECT_FAILED(worker(0).call("wait p"), "unknown_name");
}

}  // namespace
}  // namespace shoal::e2e
