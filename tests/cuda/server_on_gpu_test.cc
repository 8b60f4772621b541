// A whole cluster in this process whose servers have their tables on a GPU, beside one on the CPU.

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/base/random.h"
#include "core/ops/rules.h"
#include "server/local_cluster.h"
#include "tests/cuda/on_gpu.h"
#include "worker/worker.h"

namespace shoal {
namespace {

constexpr std::uint64_t kRows = 20'000;
constexpr std::size_t kWidth = 16;

/// The rows after some rounds of pushes and pulls, of ranges and keys.
std::vector<float> train(const DeviceName& device, const TableSpec& spec) {
  LocalCluster::Options options;
  options.servers = 2;
  options.config.device = device;
  options.config.memory_budget = std::size_t{256} << 20;
  options.config.log_level = "error";
  const auto cluster = LocalCluster::start(std::move(options)).value();
  auto worker = Worker::connect(cluster.config()).value();
  auto table = worker.create_or_open<float>(spec).value();
  Random random(11);
  std::vector<Key> all(kRows);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
  std::vector<float> rows(kRows * kWidth);
  for (int round = 0; round < 8; ++round) {
    std::vector<Key> keys;
    for (const auto key : all)
      if (spec.layout == Layout::dense || random.chance(0.5)) keys.push_back(key);
    std::vector<float> values(keys.size() * kWidth);
    for (auto& value : values) value = static_cast<float>(random.below(200)) / 16 - 5;
    const bool range = spec.layout == Layout::dense && round % 2 == 0;
    EXPECT_TRUE(
        (range ? table.push(RowRange{0, kRows}, values) : table.push(keys, values)).wait().ok());
    worker.tick();
    EXPECT_TRUE(table.pull(all, rows).wait().ok());
  }
  return rows;
}

TEST(ServerOnGpu, TablesAreWhatTheyAreOnTheHost) {
  SHOAL_NEEDS_GPU();
  for (const auto layout : {Layout::dense, Layout::sparse})
    for (const auto apply : {Apply::on_arrival, Apply::per_clock})
      for (const auto& update : {update_spec(Add{}), update_spec(Adam{}), update_spec(Adagrad{})}) {
        SCOPED_TRACE(testing::Message()
                     << update.rule << (layout == Layout::dense ? ", dense" : ", sparse"));
        TableSpec spec;
        spec.name = "t";
        spec.layout = layout;
        spec.rows = layout == Layout::dense ? kRows : 0;
        spec.row_width = kWidth;
        spec.update = update;
        spec.apply = apply;
        spec.staleness = apply == Apply::on_arrival ? unbounded : 0;
        spec.initializer = {Initializer::Kind::normal, 0, 1, 5};
        EXPECT_EQ(train({}, spec), train({.cuda = true, .ordinal = 0}, spec));
      }
}

TEST(ServerOnGpu, MoreMemoryThanItHasIsRefused) {
  SHOAL_NEEDS_GPU();
  LocalCluster::Options options;
  options.config.device = {.cuda = true, .ordinal = 0};
  options.config.memory_budget = std::size_t{1} << 50;
  const auto cluster = LocalCluster::start(std::move(options));
  ASSERT_FALSE(cluster.ok());
  EXPECT_EQ(cluster.code(), Errc::invalid_argument);
  EXPECT_NE(cluster.error().what.find("lower memory_budget"), std::string::npos);
}

}  // namespace
}  // namespace shoal
