#include "perf/table_load.h"

#include <gtest/gtest.h>

#include "perf/workload.h"
#include "server/local_cluster.h"

namespace shoal::perf {
namespace {

class TableLoadTest : public testing::Test {
 protected:
  void SetUp() override {
    auto cluster = LocalCluster::start({});
    ASSERT_TRUE(cluster.ok()) << cluster.error().message();
    cluster_.emplace(std::move(cluster).value());
    auto config = cluster_->config();
    config.progress = Config::Progress::caller;
    auto worker = Worker::connect(config);
    ASSERT_TRUE(worker.ok()) << worker.error().message();
    worker_.emplace(std::move(worker).value());
  }
  void TearDown() override {
    worker_.reset();
    cluster_.reset();
  }
  const SteadyClock clock_{};
  std::optional<LocalCluster> cluster_;
  std::optional<Worker> worker_;
  Recorder recorder_;
};

TEST_F(TableLoadTest, EveryOperationCountsAndLeavesWhatItShould) {
  int number = 0;
  for (const auto op : {TableOp::push, TableOp::pull, TableOp::push_pull})
    for (const std::size_t bytes : {8u, 40'000u})
      for (const bool both_ways : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << static_cast<int>(op) << " " << bytes << " " << both_ways);
        auto load =
            TableLoad::create(*worker_, "t" + std::to_string(number++), {op, bytes, 3, both_ways});
        ASSERT_TRUE(load.ok()) << load.error().message();
        const auto measured =
            load->run(clock_, {.warmup = {}, .duration = {}, .iterations = 50}, recorder_);
        ASSERT_TRUE(measured.ok()) << measured.error().message();
        EXPECT_EQ(measured->latency.count, 50u);
        const auto checked = load->check();
        EXPECT_TRUE(checked.ok()) << checked.error().message();
        EXPECT_TRUE(load->drop().ok());
      }
}

TEST_F(TableLoadTest, AWrongValueIsFound) {
  auto load = TableLoad::create(*worker_, "t", {TableOp::push, 8, 1});
  ASSERT_TRUE(load.ok()) << load.error().message();
  // Another program's push into the same table: row 5 is not what the load makes of it.
  TableSpec spec{.name = "t"};
  spec.rows = 2 * ring_size(8, 1);
  spec.staleness = unbounded;
  auto same = worker_->create_or_open<float>(spec);
  ASSERT_TRUE(same.ok()) << same.error().message();
  const std::vector<float> one{1};
  ASSERT_TRUE(same->push({5, 6}, one).wait().ok());
  const auto checked = load->check();
  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.error().code, Errc::corrupt);
  EXPECT_NE(checked.error().what.find("row 5 of table 't' is 6"), std::string::npos)
      << checked.error().what;
}

TEST_F(TableLoadTest, SizesThatAreNoRowsAreRefused) {
  EXPECT_EQ(TableLoad::create(*worker_, "t", {TableOp::push, 6, 1}).code(), Errc::invalid_argument);
  EXPECT_EQ(TableLoad::create(*worker_, "t", {TableOp::push, 8, 0}).code(), Errc::invalid_argument);
}

}  // namespace
}  // namespace shoal::perf
