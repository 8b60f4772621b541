#include <gtest/gtest.h>

#include <thread>

#include "core/ops/rules.h"
#include "examples/mlp_cuda/parameters.h"
#include "examples/mlp_cuda/train.h"
#include "server/local_cluster.h"
#include "tests/examples/mlp_data.h"
#include "worker/worker.h"

namespace shoal::mlp {
namespace {

constexpr std::size_t kPatternPixels = 64;

/// A training of patterns, and what all its ways have in common.
struct PatternTraining {
  Dataset data = pattern_dataset(1280, 500, kPatternPixels);
  Training training{.epochs = 3, .batch = 64, .evaluate_every = 0, .seed = 5};
  ParameterSpec spec{layer_shapes(kPatternPixels, std::vector<std::uint32_t>{40, 20}, kClasses),
                     Momentum{.learning_rate = 0.05, .momentum = 0.9}, 9, 0};
  SteadyClock clock;

  Outcome locally() const {
    const auto math = create_host_math();
    const auto parameters = keep_locally(*math, spec).value();
    return train(training, data, {}, *math, *parameters, spec.shapes, clock, {}).value();
  }
  /// As one worker of a cluster.
  Result<Outcome> as_worker(const Config& config, Overlap& overlap) const {
    const auto math = create_host_math();
    SHOAL_ASSIGN(auto worker, Worker::connect(config));
    const Share share{worker.rank().value, worker.worker_count()};
    SHOAL_ASSIGN(const auto parameters, keep_in_shoal(*math, spec, worker, clock, overlap));
    SHOAL_ASSIGN(const auto outcome,
                 train(training, data, share, *math, *parameters, spec.shapes, clock, {}));
    SHOAL_TRY(worker.leave());
    return outcome;
  }
  /// What worker 0 saw.
  Outcome in_cluster(std::uint32_t servers, std::uint32_t workers) const {
    LocalCluster::Options options;
    options.servers = servers;
    options.workers = workers;
    const auto cluster = LocalCluster::start(std::move(options)).value();
    std::vector<std::thread> threads;
    std::vector<Outcome> outcomes(workers);
    for (auto& outcome : outcomes)
      threads.emplace_back([this, &cluster, &outcome] {
        Overlap overlap;
        outcome = as_worker(cluster.config(), overlap).value();
        EXPECT_GT(overlap.communication(), Duration::zero());
      });
    for (auto& thread : threads) thread.join();
    for (const auto& outcome : outcomes)
      if (outcome.test) return outcome;
    ADD_FAILURE() << "nobody looked at the test images";
    return {};
  }
};

TEST(MlpTraining, Learns) {
  const PatternTraining patterns;
  const auto outcome = patterns.locally();
  EXPECT_EQ(outcome.epoch, 3u);
  EXPECT_EQ(outcome.images, 3u * 1280u);
  ASSERT_TRUE(outcome.test.has_value());
  EXPECT_GT(outcome.test->accuracy, 0.95);
}

TEST(MlpTraining, UntrainedNetworksGuess) {
  PatternTraining patterns;
  patterns.spec.update = Sgd{.learning_rate = 0};
  const auto outcome = patterns.locally();
  EXPECT_LT(outcome.test->accuracy, 0.4);
}

/// In lockstep a server does what the loop does without one: the same bits.
TEST(MlpTraining, OneWorkerInLockstepIsTheLocalLoop) {
  for (const UpdateSpec& rule :
       {UpdateSpec(Sgd{.learning_rate = 0.1}), UpdateSpec(Momentum{.learning_rate = 0.05}),
        UpdateSpec(Adam{.learning_rate = 0.002})}) {
    PatternTraining patterns;
    patterns.training.epochs = 1;
    patterns.spec.update = rule;
    const auto alone = patterns.locally();
    const auto served = patterns.in_cluster(2, 1);
    EXPECT_EQ(alone.test->loss, served.test->loss) << rule.rule;
    EXPECT_EQ(alone.train.loss, served.train.loss) << rule.rule;
  }
}

/// Two workers that take half of each step's images each: the same sums, but for rounding.
TEST(MlpTraining, TwoWorkersInLockstepAreOneOfTwiceTheBatch) {
  PatternTraining one, two;
  two.training.batch = 32;
  const auto alone = one.locally();
  const auto shared = two.in_cluster(1, 2);
  EXPECT_NEAR(alone.test->loss, shared.test->loss, 1e-3);
  EXPECT_NEAR(alone.test->accuracy, shared.test->accuracy, 0.005);
}

TEST(MlpTraining, LearnsWithStaleWeights) {
  for (const std::int64_t staleness : {1, 3}) {
    PatternTraining patterns;
    patterns.spec.staleness = staleness;
    patterns.training.epochs = 6;
    patterns.spec.update = Momentum{.learning_rate = 0.02};
    EXPECT_GT(patterns.in_cluster(2, 2).test->accuracy, 0.95) << staleness;
    EXPECT_GT(patterns.in_cluster(1, 1).test->accuracy, 0.95) << staleness;
  }
}

TEST(MlpTraining, TooFewImagesAreRefused) {
  PatternTraining patterns;
  patterns.data = pattern_dataset(63, 10, kPatternPixels);
  const auto math = create_host_math();
  const auto parameters = keep_locally(*math, patterns.spec).value();
  const auto outcome = train(patterns.training, patterns.data, {}, *math, *parameters,
                             patterns.spec.shapes, patterns.clock, {});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.code(), Errc::invalid_argument);
  EXPECT_NE(outcome.error().what.find("--batch"), std::string::npos);
}

}  // namespace
}  // namespace shoal::mlp
