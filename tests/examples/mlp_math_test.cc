#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/base/random.h"
#include "examples/mlp_cuda/math.h"
#include "examples/mlp_cuda/model.h"
#include "examples/mlp_cuda/overlap.h"
#include "tests/examples/mlp_data.h"

namespace shoal::mlp {
namespace {

std::vector<float> random_values(std::size_t count, Random& random) {
  std::vector<float> values(count);
  for (auto& value : values) value = static_cast<float>(random.uniform() * 2 - 1);
  return values;
}

double value_at(const Factor& factor, std::size_t row, std::size_t column) {
  if (factor.transposed) std::swap(row, column);
  return static_cast<double>(factor.values[row * factor.columns + column]);
}

/// Every form of both factors, at sizes around the blocks' borders.
TEST(MlpHostMath, ProductsAreThoseOfTheDefinition) {
  const auto math = create_host_math();
  Random random(3);
  const std::size_t sizes[][3] = {{1, 1, 1},    {3, 5, 2},      {8, 256, 32}, {9, 257, 33},
                                  {128, 7, 10}, {129, 300, 40}, {17, 1, 65}};
  for (const auto& [rows, depth, columns] : sizes)
    for (int form = 0; form < 4; ++form) {
      auto a_values = random_values(rows * depth, random);
      auto b_values = random_values(depth * columns, random);
      const auto a = (form & 1) != 0 ? transposed(Factor(a_values.data(), depth, rows))
                                     : Factor(a_values.data(), rows, depth);
      const auto b = (form & 2) != 0 ? transposed(Factor(b_values.data(), columns, depth))
                                     : Factor(b_values.data(), depth, columns);
      std::vector<float> product(rows * columns, 7.0f);
      math->multiply(a, b, {product.data(), rows, columns});
      for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < columns; ++j) {
          double sum = 0;
          for (std::size_t k = 0; k < depth; ++k) sum += value_at(a, i, k) * value_at(b, k, j);
          ASSERT_NEAR(product[i * columns + j], sum, 1e-4)
              << rows << 'x' << depth << 'x' << columns << ", form " << form;
        }
    }
}

TEST(MlpHostMath, OtherThingsAreLookedAfterBetweenPieces) {
  const auto math = create_host_math();
  int calls = 0;
  math->call_between([&calls] { ++calls; });
  std::vector<float> a(128 * 256), b(256 * 256), product(128 * 256);
  math->multiply({a.data(), 128, 256}, {b.data(), 256, 256}, {product.data(), 128, 256});
  EXPECT_EQ(calls, 8);  // panels of 32 columns
}

TEST(MlpHostMath, SoftmaxCountsTheFirstGreatestAndStandsLargeScores) {
  const auto math = create_host_math();
  std::vector<float> scores{1000, 1000, -1000, 0, 1, 0};
  const std::vector<float> classes{0, 2};
  std::vector<float> tally(2);
  math->softmax({scores.data(), 2, 3}, classes.data(), 2, tally.data());
  EXPECT_NEAR(tally[0], std::log(2.0) + std::log(2 + std::exp(1.0)), 1e-5);
  EXPECT_EQ(tally[1], 1);
  EXPECT_NEAR(scores[0], -1, 1e-6);
  EXPECT_NEAR(scores[1], 1, 1e-6);
  EXPECT_NEAR(scores[5], 2 / (2 + std::exp(1.0)) - 2, 1e-6);
}

TEST(MlpHostMath, TakesImagesInTheOrderGiven) {
  const auto math = create_host_math();
  const Images images{.pixels = 2, .values = {0, 255, 51, 102, 153, 204}, .classes = {7, 8, 9}};
  ASSERT_TRUE(math->load(Part::test, images).ok());
  ASSERT_TRUE(math->arrange(Part::test, std::vector<std::uint32_t>{2, 0, 1}).ok());
  std::vector<float> pixels(4), classes(2);
  math->take(Part::test, 1, {pixels.data(), 2, 2}, classes.data());
  EXPECT_EQ(classes, (std::vector<float>{7, 8}));
  EXPECT_FLOAT_EQ(pixels[1], 1);
  EXPECT_FLOAT_EQ(pixels[2], 0.2f);
}

/// A small network, its weights and one batch.
struct SmallNetwork {
  std::unique_ptr<Math> math = create_host_math();
  std::vector<LayerShape> shapes = layer_shapes(6, std::vector<std::uint32_t>{5, 4}, 3);
  Model model = Model::create(*math, shapes, 8).value();
  std::vector<std::vector<float>> weights, gradients;

  SmallNetwork() {
    Random random(11);
    Images images{.pixels = 6, .values = {}, .classes = {}};
    for (int i = 0; i < 8 * 6; ++i)
      images.values.push_back(static_cast<std::uint8_t>(random.below(256)));
    for (int i = 0; i < 8; ++i) images.classes.push_back(static_cast<std::uint8_t>(i % 3));
    math->load(Part::train, images).value();
    for (const auto& shape : shapes) {
      weights.push_back(random_values(shape.values(), random));
      gradients.emplace_back(shape.values());
    }
  }
  double loss(float scale) {
    model.take(Part::train, 0, 8);
    for (std::size_t layer = 0; layer < shapes.size(); ++layer)
      model.forward(layer, weights[layer].data());
    float tally[2] = {};
    model.score(scale, tally);
    return static_cast<double>(tally[0]);
  }
  void backward() {
    loss(1);
    for (std::size_t layer = shapes.size(); layer-- > 0;) {
      model.gradient(layer, gradients[layer].data());
      if (layer > 0) model.back(layer, weights[layer].data());
    }
  }
};

TEST(MlpModel, GradientsAreThoseOfFiniteDifferences) {
  SmallNetwork network;
  network.backward();
  constexpr float kStep = 1e-2f;
  double largest = 0;
  for (std::size_t layer = 0; layer < network.shapes.size(); ++layer)
    for (std::size_t i = 0; i < network.weights[layer].size(); ++i) {
      auto& weight = network.weights[layer][i];
      const float before = weight;
      weight = before + kStep;
      const double above = network.loss(1);
      weight = before - kStep;
      const double below = network.loss(1);
      weight = before;
      const double expected = (above - below) / (2 * static_cast<double>(kStep));
      largest = std::max(largest, std::abs(expected));
      EXPECT_NEAR(network.gradients[layer][i], expected, 5e-3) << "layer " << layer << ", " << i;
    }
  EXPECT_GT(largest, 0.5);
}

TEST(MlpOverlap, IntervalsThatOverlapCountOnce) {
  using std::chrono::seconds;
  Overlap overlap;
  EXPECT_EQ(overlap.hidden(), 0);
  const TimePoint start{};
  overlap.begin(start);
  overlap.begin(start + seconds(1));
  overlap.end(start + seconds(3));
  overlap.end(start + seconds(4));
  overlap.begin(start + seconds(10));
  overlap.end(start + seconds(16));
  overlap.blocked(seconds(2));
  EXPECT_EQ(overlap.communication(), seconds(10));
  EXPECT_DOUBLE_EQ(overlap.hidden(), 0.8);
  overlap.blocked(seconds(20));
  EXPECT_EQ(overlap.hidden(), 0);
}

}  // namespace
}  // namespace shoal::mlp
