// examples/mlp_cuda on a GPU: what it computes there is what the host computes, but for rounding.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <span>
#include <vector>

#include "core/base/clock.h"
#include "core/base/random.h"
#include "core/ops/rules.h"
#include "examples/mlp_cuda/math.h"
#include "examples/mlp_cuda/parameters.h"
#include "examples/mlp_cuda/train.h"
#include "tests/cuda/on_gpu.h"
#include "tests/examples/mlp_data.h"

namespace shoal::mlp {
namespace {

/// A Math, and arrays of it that the test fills and reads.
class OnMath {
 public:
  explicit OnMath(std::unique_ptr<Math> math) : math_(std::move(math)) {}
  Math& math() { return *math_; }

  float* array(const std::vector<float>& values) {
    const auto host = pages(values.size());
    std::copy(values.begin(), values.end(), host.begin());
    auto* const mirror = math_->mirror(host).value();
    math_->follow(math_->to_mirror(host, mirror).value()).value();
    return mirror;
  }
  std::vector<float> values(const float* array, std::size_t count) {
    std::vector<float> read(count);
    math_->read(array, read).value();
    return read;
  }
  /// Memory of its own pages, which can be pinned.
  std::span<float> pages(std::size_t count) {
    const auto bytes = (count * sizeof(float) + kPageBytes - 1) / kPageBytes * kPageBytes;
    auto* const memory = static_cast<float*>(std::aligned_alloc(kPageBytes, bytes));
    hosts_.emplace_back(memory, count);
    return hosts_.back();
  }
  ~OnMath() {
    for (const auto host : hosts_) {
      math_->release(host);
      std::free(host.data());
    }
  }
  OnMath(const OnMath&) = delete;
  OnMath& operator=(const OnMath&) = delete;

 private:
  static constexpr std::size_t kPageBytes = 4096;
  std::unique_ptr<Math> math_;
  std::vector<std::span<float>> hosts_;
};

std::vector<float> drawn(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (auto& value : values) value = static_cast<float>(random.uniform() * 2 - 1);
  return values;
}

/// The same work on both, and what it leaves.
void expect_equal(const std::function<std::vector<float>(OnMath&)>& work, float tolerance) {
  auto gpu = create_cuda_math(0);
  ASSERT_TRUE(gpu.ok()) << gpu.error().message();
  OnMath there(std::move(*gpu)), here(create_host_math());
  const auto theirs = work(there), ours = work(here);
  ASSERT_EQ(theirs.size(), ours.size());
  for (std::size_t i = 0; i < ours.size(); ++i) ASSERT_NEAR(theirs[i], ours[i], tolerance) << i;
}

TEST(MlpOnGpu, ProductsInAllForms) {
  SHOAL_NEEDS_GPU();
  for (int form = 0; form < 4; ++form)
    expect_equal(
        [form](OnMath& on) {
          constexpr std::size_t kRows = 37, kDepth = 65, kColumns = 21;
          auto* const a = on.array(drawn(kRows * kDepth, 1));
          auto* const b = on.array(drawn(kDepth * kColumns, 2));
          auto* const product = on.array(drawn(kRows * kColumns, 3));
          on.math().multiply(
              (form & 1) != 0 ? transposed(Factor(a, kDepth, kRows)) : Factor(a, kRows, kDepth),
              (form & 2) != 0 ? transposed(Factor(b, kColumns, kDepth))
                              : Factor(b, kDepth, kColumns),
              {product, kRows, kColumns});
          return on.values(product, kRows * kColumns);
        },
        1e-4f);
}

TEST(MlpOnGpu, BiasMaskAndSums) {
  SHOAL_NEEDS_GPU();
  for (const bool relu : {false, true})
    expect_equal(
        [relu](OnMath& on) {
          constexpr std::size_t kRows = 130, kColumns = 70;
          auto* const outputs = on.array(drawn(kRows * kColumns, 4));
          auto* const gradients = on.array(drawn(kRows * kColumns, 5));
          auto* const sums = on.array(drawn(kColumns, 6));
          on.math().add_bias({outputs, kRows, kColumns}, on.array(drawn(kColumns, 7)), relu);
          on.math().mask({gradients, kRows, kColumns}, outputs);
          on.math().sum_columns({gradients, kRows, kColumns}, sums);
          auto left = on.values(outputs, kRows * kColumns);
          for (const auto value : on.values(sums, kColumns)) left.push_back(value);
          return left;
        },
        1e-4f);
}

TEST(MlpOnGpu, Softmax) {
  SHOAL_NEEDS_GPU();
  for (const std::size_t columns : {10u, 77u})
    expect_equal(
        [columns](OnMath& on) {
          constexpr std::size_t kRows = 45;
          std::vector<float> classes;
          for (std::size_t i = 0; i < kRows; ++i) classes.push_back(static_cast<float>(i % 10));
          auto scores = drawn(kRows * columns, 8);
          scores[0] = scores[1] = 300;  // two greatest: the first counts
          auto* const on_device = on.array(scores);
          auto* const tally = on.math().allocate(2).value();
          on.math().softmax({on_device, kRows, columns}, on.array(classes), 0.5f, tally);
          auto left = on.values(on_device, kRows * columns);
          for (const auto value : on.values(tally, 2)) left.push_back(value);
          return left;
        },
        1e-3f);
}

TEST(MlpOnGpu, TakesImagesInTheOrderGiven) {
  SHOAL_NEEDS_GPU();
  expect_equal(
      [](OnMath& on) {
        const auto images = noisy_patterns(50, 30, 3);
        std::vector<std::uint32_t> order;
        for (std::uint32_t i = 0; i < 50; ++i) order.push_back(i * 7 % 50);
        on.math().load(Part::train, images).value();
        on.math().arrange(Part::train, order).value();
        auto* const pixels = on.math().allocate(20 * 30).value();
        auto* const classes = on.math().allocate(20).value();
        on.math().take(Part::train, 25, {pixels, 20, 30}, classes);
        auto left = on.values(pixels, 20 * 30);
        for (const auto value : on.values(classes, 20)) left.push_back(value);
        return left;
      },
      1e-6f);
}

/// What comes down is what was computed, and what goes up is used by what follows.
TEST(MlpOnGpu, CopiesKeepTheOrder) {
  SHOAL_NEEDS_GPU();
  auto gpu = create_cuda_math(0);
  ASSERT_TRUE(gpu.ok()) << gpu.error().message();
  OnMath on(std::move(*gpu));
  constexpr std::size_t kCount = 1 << 20;
  const auto host = on.pages(kCount);
  std::fill(host.begin(), host.end(), 1.0f);
  auto* const mirror = on.math().mirror(host).value();
  auto* const bias = on.array({1.0f});
  for (int round = 0; round < 20; ++round) {
    on.math().follow(on.math().to_mirror(host, mirror).value()).value();
    on.math().add_bias({mirror, kCount, 1}, bias, false);
    const auto mark = on.math().to_host(mirror, host).value();
    while (!on.math().done(mark).value()) {
    }
    ASSERT_EQ(host.front(), static_cast<float>(round + 2));
    ASSERT_EQ(host.back(), static_cast<float>(round + 2));
  }
}

TEST(MlpOnGpu, ATrainingIsTheHosts) {
  SHOAL_NEEDS_GPU();
  const auto data = pattern_dataset(1280, 500, 64);
  const Training training{.epochs = 2, .batch = 64, .evaluate_every = 0, .seed = 5};
  const ParameterSpec spec{layer_shapes(64, std::vector<std::uint32_t>{40, 20}, kClasses),
                           Momentum{.learning_rate = 0.05}, 9, 0};
  const SteadyClock clock;
  const auto outcome_on = [&](Math& math) {
    const auto parameters = keep_locally(math, spec).value();
    return train(training, data, {}, math, *parameters, spec.shapes, clock, {}).value();
  };
  auto gpu = create_cuda_math(0);
  ASSERT_TRUE(gpu.ok()) << gpu.error().message();
  const auto host = create_host_math();
  const auto theirs = outcome_on(**gpu), ours = outcome_on(*host);
  EXPECT_NEAR(theirs.test->loss, ours.test->loss, 1e-2);
  EXPECT_GT(theirs.test->accuracy, 0.9);
}

TEST(MlpOnGpu, AGpuThatIsNotThere) {
  SHOAL_NEEDS_GPU();
  const auto none = create_cuda_math(999);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.code(), Errc::unavailable);
  EXPECT_NE(none.error().what.find("there is no cuda:999"), std::string::npos);
}

}  // namespace
}  // namespace shoal::mlp
