#include "examples/sparse_lr/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/base/random.h"
#include "examples/sparse_lr/logistic.h"
#include "tests/examples/scratch_files.h"

namespace shoal::sparse_lr {
namespace {

double plain_auc(const std::vector<std::pair<double, bool>>& scores) {
  double wins = 0, pairs = 0;
  for (const auto& [positive_score, is_positive] : scores)
    for (const auto& [negative_score, other_is_positive] : scores) {
      if (!is_positive || other_is_positive) continue;
      pairs += 1;
      wins += positive_score > negative_score ? 1 : positive_score == negative_score ? 0.5 : 0;
    }
  return wins / pairs;
}

TEST(Auc, CountsTiesHalf) {
  AucCounter counter;
  for (const auto& [score, positive] :
       {std::pair{-1.0, false}, {0.0, true}, {-0.0, false}, {0.0, false}, {2.0, true}})
    counter.add(score, positive);
  EXPECT_DOUBLE_EQ(counter.auc().value(), (1 + 0.5 + 0.5 + 3) / 6.0);
}

TEST(Auc, AgreesWithCountingPairs) {
  Random random(1);
  for (int trial = 0; trial < 20; ++trial) {
    AucCounter counter;
    std::vector<std::pair<double, bool>> scores;
    for (int i = 0; i < 200; ++i)
      scores.emplace_back(static_cast<double>(random.below(40)) - 20, random.chance(0.3));
    for (const auto& [score, positive] : scores) counter.add(score, positive);
    EXPECT_NEAR(counter.auc().value(), plain_auc(scores), 1e-12);
  }
}

TEST(Auc, NeedsBothClasses) {
  AucCounter counter;
  EXPECT_FALSE(counter.auc());
  counter.add(1, true);
  EXPECT_FALSE(counter.auc());
}

TEST(Auc, StaysCloseBeyondTheExactLimit) {
  AucCounter counter;
  Random random(2);
  // Positives uniform in [0.5, 1.5), negatives in [0, 1): the area is 7/8.
  for (std::size_t i = 0; i < AucCounter::kExactMax + 1000; ++i) {
    const bool positive = i % 2 == 0;
    counter.add(random.uniform() + (positive ? 0.5 : 0), positive);
  }
  EXPECT_NEAR(counter.auc().value(), 0.875, 0.001);
}

TEST(Logistic, StaysStable) {
  EXPECT_DOUBLE_EQ(logistic_loss(0), std::numbers::ln2);
  EXPECT_DOUBLE_EQ(logistic_loss(-1000), 1000);
  EXPECT_EQ(logistic_loss(1e6), 0);
  EXPECT_NEAR(logistic_loss(40), std::exp(-40.0), 1e-32);
  EXPECT_DOUBLE_EQ(error_chance(0.0), 0.5);
  EXPECT_EQ(error_chance(1e6), 0);
  EXPECT_EQ(error_chance(-1e6), 1);
  for (double z = -20; z < 20; z += 0.37)
    EXPECT_NEAR(error_chance(z), (logistic_loss(z - 1e-5) - logistic_loss(z + 1e-5)) / 2e-5, 1e-8);
}

TEST(Logistic, CurvatureBoundHoldsWithinItsRadius) {
  Random random(3);
  for (int i = 0; i < 2000; ++i) {
    const double margin = random.uniform() * 20 - 10, radius = random.uniform() * 3;
    const double there = margin + radius * (2 * random.uniform() - 1);
    const double p = error_chance(there);
    EXPECT_LE(p * (1 - p), curvature_bound(margin, radius) + 1e-15);
  }
  EXPECT_EQ(curvature_bound(5.0, 6.0), 0.25);
}

TEST(Logistic, GradientIsTheLossesDerivative) {
  const std::vector<float> labels{1, -1, 1}, values{1, 2, -1, 0.5f, 3};
  const std::vector<std::uint32_t> ends{2, 2, 5}, columns{0, 2, 0, 1, 2};
  const RowsView rows{labels, ends, columns, values, 3};
  std::vector<float> weights{0.3f, -0.2f, 0.1f}, gradient(3), unused(3);
  std::vector<double> margins(3);
  compute_margins(rows, weights, margins);
  EXPECT_NEAR(margins[0], 0.5, 1e-6);
  EXPECT_EQ(margins[1], 0);
  compute_gradient(rows, margins, gradient);
  for (std::size_t column = 0; column < 3; ++column) {
    double losses[2];
    for (int side = 0; side < 2; ++side) {
      auto moved = weights;
      moved[column] += side == 0 ? -1e-2f : 1e-2f;
      compute_margins(rows, moved, margins);
      losses[side] = compute_gradient(rows, margins, unused);
    }
    EXPECT_NEAR(gradient[column], (losses[1] - losses[0]) / 2e-2, 1e-3);
  }
}

TEST(Evaluation, OfAModelOnAFile) {
  const ScratchFiles files;
  const auto path = files.write("x", "+1 1:1\n-1 2:1\n+1 2:1 9:5\n-1\n");
  auto reader = LibsvmReader::open(path, {}).value();
  const std::vector<double> weights{2, -1};
  for (int pass = 0; pass < 2; ++pass) {
    const auto result = evaluate(reader, weights).value();
    EXPECT_EQ(result.examples, 4u);
    EXPECT_DOUBLE_EQ(result.loss,
                     logistic_loss(2) + logistic_loss(1) + logistic_loss(-1) + logistic_loss(0));
    EXPECT_DOUBLE_EQ(result.accuracy, 0.75);
    EXPECT_DOUBLE_EQ(result.auc.value(), (2 + 0.5) / 4);
  }
  WeightSums sums;
  sums.add(weights);
  sums.add(std::vector<float>{0, -3});
  EXPECT_EQ(sums.non_zeros(), 3u);
  EXPECT_DOUBLE_EQ(sums.penalty({.l1 = 2, .l2 = 3}), 2 * 6 + 1.5 * 14);
}

}  // namespace
}  // namespace shoal::sparse_lr
