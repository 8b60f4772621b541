// What a stranger sees first: README.md's and docs/guide.md's lines of C++ do what they say, and
// the first examples
// stay as short as they are called.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "group/group_table.h"
#include "server/local_cluster.h"
#include "worker/worker.h"

namespace shoal {
namespace {

struct Batch {
  std::vector<Key> keys;
};

int batches_computed = 0;

void compute_gradients(const Batch& batch, const std::vector<float>& params,
                       std::vector<float>& gradients) {
  ASSERT_EQ(batch.keys.size(), params.size());
  std::fill(gradients.begin(), gradients.end(), 1.0f);
  ++batches_computed;
}

void train(const std::vector<Batch>& batches, std::vector<float>& params,
           std::vector<float>& gradients) {
#include SHOAL_README_LINES
}

/// All that docs/guide.md shows, one piece after the other.
void follow_guide(Worker& worker, const std::vector<Key>& keys) {
#include SHOAL_GUIDE_LINES
}

/// Lines that are not empty.
int lines_of(const char* path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  int count = 0;
  for (std::string line; std::getline(file, line);) count += line.empty() ? 0 : 1;
  return count;
}

TEST(Readme, ItsLinesTrain) {
  const auto cluster = LocalCluster::start({}).value();
  ::setenv("SHOAL_SCHEDULER", cluster.config().scheduler.c_str(), 1);
  ::setenv("SHOAL_TOKEN_FILE", cluster.config().token_file.c_str(), 1);
  std::vector<float> params(2), gradients(2);
  train({{{Key(3), Key(7)}}, {{Key(7), Key(9)}}}, params, gradients);
  EXPECT_EQ(batches_computed, 2);
  // FTRL went against the gradient of key 7 before the second batch pulled it.
  EXPECT_LT(params[0], 0.0f);
  EXPECT_EQ(params[1], 0.0f);
}

TEST(Guide, ItsLinesRunAndDoWhatTheySay) {
  LocalCluster::Options options;
  options.servers = 2;
  const auto cluster = LocalCluster::start(options).value();
  auto worker = Worker::connect(cluster.config()).value();
  follow_guide(worker, {3, 7, 11});
  EXPECT_EQ(worker.clock().value, 12);
  auto sums = worker.create_or_open<float>({.name = "sums", .rows = 100}).value();
  std::vector<float> seen(100);
  sums.pull({0, 100}, seen).wait().value();
  EXPECT_EQ(seen, std::vector<float>(100, 1.0f));
  auto shared = worker.create_or_open<float>({.name = "shared", .rows = 1000}).value();
  std::vector<float> values(1000);
  shared.pull({0, 1000}, values).wait().value();
  EXPECT_EQ(values, std::vector<float>(1000, 1.0f));
  auto pretrained = worker.create_or_open<float>({.name = "pretrained", .rows = 1000}).value();
  pretrained.pull({0, 1000}, values).wait().value();
  EXPECT_EQ(values, std::vector<float>(1000, 0.5f));
}

TEST(Readme, IsAsShortAsItSays) {
  EXPECT_LE(lines_of(SHOAL_README_LINES), 11);  // ten, and the #include
  EXPECT_LE(lines_of(SHOAL_HELLO), 40);
}

}  // namespace
}  // namespace shoal
