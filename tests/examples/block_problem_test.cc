#include "examples/sparse_lr/block_problem.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <string>

#include "core/base/random.h"
#include "core/ops/proximal_rules.h"
#include "examples/sparse_lr/text.h"
#include "tests/examples/optimum.h"
#include "tests/examples/scratch_files.h"

namespace shoal::sparse_lr {
namespace {

constexpr std::size_t kFeatures = 600;

/// Examples with a few true weights; feature frequencies fall like those of words.
std::string synthetic(std::size_t examples, std::size_t entries, std::uint64_t seed,
                      double scale = 1) {
  Random random(seed);
  std::string text;
  for (std::size_t row = 0; row < examples; ++row) {
    std::vector<double> x(kFeatures);
    for (std::size_t i = 0; i < entries; ++i)
      x[static_cast<std::size_t>(std::pow(kFeatures, random.uniform())) - 1] =
          random.uniform() + 0.5;
    double margin = 0;
    std::string features;
    for (std::size_t key = 0; key < kFeatures; ++key) {
      if (x[key] == 0) continue;
      if (mix64(key) % 4 == 0) margin += (mix64(key) % 8 == 0 ? 1.5 : -1.5) * x[key];
      features += ' ' + std::to_string(key + 1) + ':' + number_text(scale * x[key]);
    }
    text += (random.uniform() < error_chance(-margin) ? "+1" : "-1") + features + '\n';
  }
  return text;
}

/// The cluster, reduced to its promises: a pull in round t with staleness s holds the rounds below
/// t - s and no newer one; the servers sum a round's pushes and apply ProximalDiagonal once.
class Cluster {
 public:
  Cluster(const std::string& path, std::uint32_t workers, const BlockProblem::Options& options,
          double l1, double l2 = 0)
      : schedule_(options.schedule),
        rule_{.step = 1.0 / (1 + options.schedule.staleness), .l1 = l1, .l2 = l2},
        weights_(kFeatures) {
    for (std::uint32_t i = 0; i < workers; ++i) {
      auto reader = LibsvmReader::open(path, {}, {i, workers}).value();
      shares_.push_back(BlockProblem::build(reader, options).value());
    }
  }

  void round() {
    const auto t = round_++;
    const auto block = schedule_.pushed_in(t);
    std::vector<float> g(kFeatures), u(kFeatures);
    for (auto& share : shares_) {
      if (schedule_.pulls_in(t)) pull(share, schedule_.pulled_in(t));
      std::vector<float> pushed(2 * share.keys(block).size());
      ASSERT_TRUE(share.gradient(block, pushed).ok());
      for (std::size_t i = 0; i < share.keys(block).size(); ++i) {
        g[share.keys(block)[i]] += pushed[2 * i];
        u[share.keys(block)[i]] += pushed[2 * i + 1];
      }
    }
    in_flight_.push_back(weights_);
    if (in_flight_.size() > schedule_.staleness + 1) in_flight_.pop_front();
    for (std::size_t key = 0; key < kFeatures; ++key)
      if (u[key] > 0) rule_(weights_[key], g[key], u[key]);
  }
  void epochs(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count * schedule_.blocks; ++i) round();
  }
  const std::vector<float>& weights() const { return weights_; }
  std::vector<BlockProblem>& shares() { return shares_; }

 private:
  /// in_flight_[0] is what the weights were before the last s + 1 rounds: with s = 0 a pull in
  /// round t must see round t - 1, so it reads the weights after the oldest round it may miss.
  void pull(BlockProblem& share, std::uint32_t block) {
    const auto& seen = in_flight_.size() > schedule_.staleness && schedule_.staleness > 0
                           ? in_flight_[1]
                           : weights_;
    std::vector<float> values;
    for (const Key key : share.keys(block)) values.push_back(seen[key]);
    ASSERT_TRUE(share.set_weights(block, values).ok());
  }

  BlockSchedule schedule_;
  ProximalDiagonal rule_;
  std::vector<float> weights_;
  std::vector<BlockProblem> shares_;
  std::deque<std::vector<float>> in_flight_;  ///< the weights before each of the last s + 1 rounds
  std::uint64_t round_ = 0;
};

CsrBatch all_of(const std::string& path) {
  CsrBatch batch;
  auto reader = LibsvmReader::open(path, {}).value();
  EXPECT_TRUE(reader.read(batch, SIZE_MAX).ok());
  return batch;
}

struct Setting {
  std::uint32_t workers;
  std::uint32_t staleness;
};
class BlockProblemConverges : public ::testing::TestWithParam<Setting> {};

TEST_P(BlockProblemConverges, ToTheOptimum) {
  const ScratchFiles files;
  const auto path = files.write("train", synthetic(2000, 20, 1));
  const auto [workers, staleness] = GetParam();
  constexpr double kL1 = 2;
  Cluster cluster(path, workers, {.schedule = {.blocks = 64, .staleness = staleness}}, kL1);
  const auto data = all_of(path);
  cluster.epochs(150);  // the objective is there long before; its proof, the floor, follows later
  const double objective = plain_objective(data, cluster.weights(), kL1);
  const double floor = objective_floor(data, cluster.weights(), kL1);
  EXPECT_GT(floor, 0);
  EXPECT_LT(objective, floor * 1.002);
}

TEST_P(BlockProblemConverges, AndTheObjectiveOnlyFalls) {
  const ScratchFiles files;
  const auto [workers, staleness] = GetParam();
  for (const double scale : {0.1, 1.0, 30.0}) {
    const auto path = files.write("train", synthetic(300, 20, 2, scale));
    const auto data = all_of(path);
    Cluster cluster(path, workers, {.schedule = {.blocks = 8, .staleness = staleness}}, 1);
    double before = plain_objective(data, cluster.weights(), 1);
    for (int epoch = 0; epoch < 30; ++epoch) {
      cluster.epochs(1);
      const double after = plain_objective(data, cluster.weights(), 1);
      EXPECT_LE(after, before * (1 + 1e-6)) << "epoch " << epoch << ", scale " << scale;
      before = after;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, BlockProblemConverges,
                         ::testing::Values(Setting{1, 0}, Setting{2, 0}, Setting{4, 0},
                                           Setting{1, 4}, Setting{2, 4}, Setting{4, 4},
                                           Setting{3, 6}),
                         [](const auto& info) {
                           return "Workers" + std::to_string(info.param.workers) + "Staleness" +
                                  std::to_string(info.param.staleness);
                         });

TEST(BlockProblem, OneBlockIsSeparableProximalGradient) {
  const ScratchFiles files;
  const auto path = files.write("x", "+1 1:2 3:1\n-1 1:-1 2:4\n");
  auto reader = LibsvmReader::open(path, {}).value();
  auto problem = BlockProblem::build(reader, {.schedule = {.blocks = 2, .staleness = 0}}).value();
  EXPECT_EQ(problem.example_count(), 2u);
  const auto& schedule = problem.schedule();
  for (std::uint32_t block = 0; block < 2; ++block) {
    std::vector<float> out(2 * problem.keys(block).size());
    ASSERT_TRUE(problem.gradient(block, out).ok());
    for (std::size_t i = 0; i < problem.keys(block).size(); ++i) {
      // By hand: g = sum of -y x / 2, u = sum of |x| r / 4 with r over the block's features.
      const double x[2][3] = {{2, 0, 1}, {-1, 4, 0}};
      const double y[2] = {1, -1};
      const Key key = problem.keys(block)[i];
      double g = 0, u = 0;
      for (int row = 0; row < 2; ++row) {
        double r = 0;
        for (Key k = 0; k < 3; ++k)
          if (schedule.block_of(k) == block) r += std::abs(x[row][k]);
        g -= y[row] * x[row][key] / 2;
        u += std::abs(x[row][key]) * r / 4;
      }
      EXPECT_FLOAT_EQ(out[2 * i], static_cast<float>(g));
      EXPECT_FLOAT_EQ(out[2 * i + 1], static_cast<float>(u));
    }
  }
}

TEST(BlockProblem, KeysAscendAndCoverTheShareOnce) {
  const ScratchFiles files;
  const auto path = files.write("x", synthetic(500, 30, 3));
  auto reader = LibsvmReader::open(path, {}).value();
  const auto problem = BlockProblem::build(reader, {.schedule = {.blocks = 7}}).value();
  std::vector<Key> all;
  for (std::uint32_t block = 0; block < 7; ++block) {
    const auto keys = problem.keys(block);
    EXPECT_TRUE(std::ranges::is_sorted(keys));
    EXPECT_LE(keys.size(), problem.block_keys_max());
    for (const Key key : keys) EXPECT_EQ(problem.schedule().block_of(key), block);
    all.insert(all.end(), keys.begin(), keys.end());
  }
  std::ranges::sort(all);
  auto expected = all_of(path).keys;
  std::ranges::sort(expected);
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  EXPECT_EQ(all, expected);
}

TEST(BlockProblem, LossFollowsTheWeights) {
  const ScratchFiles files;
  const auto path = files.write("x", synthetic(400, 10, 4));
  auto reader = LibsvmReader::open(path, {}).value();
  auto problem = BlockProblem::build(reader, {.schedule = {.blocks = 5}, .chunk_rows = 64}).value();
  EXPECT_NEAR(problem.loss().value(), 400 * std::log(2.0), 1e-9);
  Random random(9);
  std::vector<float> weights(kFeatures);
  for (int turn = 0; turn < 20; ++turn) {
    const auto block = static_cast<std::uint32_t>(random.below(5));
    std::vector<float> values;
    for (const Key key : problem.keys(block)) {
      weights[key] = static_cast<float>(random.uniform() - 0.5);
      values.push_back(weights[key]);
    }
    ASSERT_TRUE(problem.set_weights(block, values).ok());
  }
  EXPECT_NEAR(problem.loss().value(), plain_objective(all_of(path), weights, 0), 1e-3);
}

TEST(BlockProblem, ChunksAndDiskChangeNothing) {
  const ScratchFiles files;
  const auto path = files.write("x", synthetic(1000, 20, 5));
  const BlockSchedule schedule{.blocks = 16, .staleness = 2};
  Cluster roomy(path, 2, {.schedule = schedule}, 1);
  Cluster tight(path, 2,
                {.schedule = schedule,
                 .pages = {.directory = files.directory(), .memory_bytes = 5000},
                 .chunk_rows = 100,
                 .chunk_entries = 700},
                1);
  roomy.epochs(5);
  tight.epochs(5);
  for (std::size_t key = 0; key < kFeatures; ++key)
    EXPECT_NEAR(roomy.weights()[key], tight.weights()[key], 1e-4);
  EXPECT_TRUE(std::filesystem::is_empty(files.directory()) ||
              std::distance(std::filesystem::directory_iterator(files.directory()), {}) == 1)
      << "the temporary file has no name";
}

TEST(BlockProblem, ErrorsComeOut) {
  const ScratchFiles files;
  auto reader = LibsvmReader::open(files.write("x", "1 1:1\n1 1:x\n"), {}).value();
  EXPECT_EQ(BlockProblem::build(reader, {}).error().what.find(files.path("x") + ":2: "), 0u);
  auto good = LibsvmReader::open(files.write("y", synthetic(100, 5, 6)), {}).value();
  EXPECT_EQ(BlockProblem::build(good, {.schedule = {.blocks = 5, .staleness = 4}}).code(),
            Errc::invalid_argument);
  const auto nowhere =
      BlockProblem::build(good, {.pages = {.directory = files.path("absent"), .memory_bytes = 0}});
  EXPECT_EQ(nowhere.code(), Errc::io);
  EXPECT_NE(nowhere.error().what.find(files.path("absent")), std::string::npos);
}

TEST(BlockSchedule, FetchesEachBlockWhenItsRoundIsCertain) {
  for (const std::uint32_t staleness : {0u, 1u, 4u}) {
    const BlockSchedule schedule{.blocks = staleness + 2, .staleness = staleness};
    for (std::uint64_t round = 0; round < 30; ++round) {
      EXPECT_EQ(schedule.pulls_in(round), round >= staleness + 1);
      if (schedule.pulls_in(round)) {
        EXPECT_EQ(schedule.pulled_in(round), schedule.pushed_in(round - staleness - 1));
      }
    }
  }
}

}  // namespace
}  // namespace shoal::sparse_lr
