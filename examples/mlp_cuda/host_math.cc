#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <numeric>
#include <vector>

#include "examples/mlp_cuda/host_products.h"
#include "examples/mlp_cuda/math.h"

namespace shoal::mlp {
namespace {

Strided strided(const Factor& factor) {
  return factor.transposed ? Strided{factor.values, 1, factor.columns}
                           : Strided{factor.values, factor.columns, 1};
}

class HostMath final : public Math {
 public:
  HostMath() : rules_(RuleSet::builtin()) {}

  std::string_view name() const override { return "cpu"; }
  void call_between(std::function<void()> between) override { between_ = std::move(between); }

  Result<float*> allocate(std::size_t count) override {
    arrays_.emplace_back(count);
    return arrays_.back().data();
  }
  Result<float*> mirror(std::span<float> host) override { return host.data(); }
  void release(std::span<float> /*host*/) override {}
  Result<Mark> to_mirror(std::span<const float> /*host*/, float* /*mirror*/) override {
    return Mark{0};
  }
  Result<Mark> to_host(const float* /*mirror*/, std::span<float> /*host*/) override {
    return Mark{0};
  }
  Result<bool> done(Mark /*mark*/) override { return true; }
  Status follow(Mark /*mark*/) override { return {}; }
  Status read(const float* from, std::span<float> to) override {
    std::copy_n(from, to.size(), to.data());
    return {};
  }

  Status load(Part part, const Images& images) override {
    auto& kept = parts_[static_cast<std::size_t>(part)];
    kept.images = images;
    kept.order.resize(images.count());
    std::iota(kept.order.begin(), kept.order.end(), 0u);
    return {};
  }
  Status arrange(Part part, std::span<const std::uint32_t> order) override {
    parts_[static_cast<std::size_t>(part)].order.assign(order.begin(), order.end());
    return {};
  }
  void take(Part part, std::size_t first, Matrix pixels, float* classes) override {
    const auto& [images, order] = parts_[static_cast<std::size_t>(part)];
    SHOAL_ASSERT(first <= order.size() && pixels.rows <= order.size() - first, "no such images");
    for (std::size_t row = 0; row < pixels.rows; ++row) {
      const auto number = order[first + row];
      const auto* from = images.values.data() + number * pixels.columns;
      float* to = pixels.values + row * pixels.columns;
      for (std::size_t i = 0; i < pixels.columns; ++i)
        to[i] = (static_cast<float>(from[i]) - images.mean) * images.factor;
      classes[row] = images.classes[number];
    }
    if (between_) between_();
  }

  void multiply(Factor a, Factor b, Matrix product) override {
    products_.multiply(strided(a), strided(b), product.values, product.rows, a.depth(),
                       product.columns, between_);
  }
  void add_bias(Matrix matrix, const float* bias, bool relu) override {
    for (std::size_t row = 0; row < matrix.rows; ++row) {
      float* values = matrix.values + row * matrix.columns;
      for (std::size_t i = 0; i < matrix.columns; ++i) values[i] += bias[i];
      if (!relu) continue;
      for (std::size_t i = 0; i < matrix.columns; ++i) values[i] = std::max(values[i], 0.0f);
    }
  }
  void mask(Matrix gradients, const float* outputs) override {
    const auto count = gradients.rows * gradients.columns;
    for (std::size_t i = 0; i < count; ++i)
      gradients.values[i] = outputs[i] > 0 ? gradients.values[i] : 0.0f;
  }
  void sum_columns(Matrix matrix, float* sums) override {
    std::fill_n(sums, matrix.columns, 0.0f);
    for (std::size_t row = 0; row < matrix.rows; ++row)
      for (std::size_t i = 0; i < matrix.columns; ++i)
        sums[i] += matrix.values[row * matrix.columns + i];
  }
  void softmax(Matrix scores, const float* classes, float scale, float* tally) override {
    double loss = 0;
    std::size_t right = 0;
    for (std::size_t row = 0; row < scores.rows; ++row) {
      const std::span of_row(scores.values + row * scores.columns, scores.columns);
      const auto label = static_cast<std::size_t>(classes[row]);
      const auto greatest = std::max_element(of_row.begin(), of_row.end());
      right += static_cast<std::size_t>(greatest - of_row.begin()) == label;
      const float offset = *greatest;
      loss -= of_row[label] - offset;
      float sum = 0;
      for (auto& score : of_row) sum += score = std::exp(score - offset);
      loss += std::log(sum);
      for (auto& score : of_row) score *= scale / sum;
      of_row[label] -= scale;
    }
    tally[0] += static_cast<float>(loss);
    tally[1] += static_cast<float>(right);
  }
  void clear(float* values, std::size_t count) override { std::fill_n(values, count, 0.0f); }

  const RuleSet& rules() const override { return rules_; }
  DeviceKind kind() const override { return DeviceKind::host; }
  void* stream() const override { return nullptr; }

 private:
  struct Kept {
    Images images;
    std::vector<std::uint32_t> order;
  };

  RuleSet rules_;
  std::function<void()> between_;
  HostProducts products_;
  std::deque<std::vector<float>> arrays_;
  std::array<Kept, kPartCount> parts_;
};

}  // namespace

std::unique_ptr<Math> create_host_math() { return std::make_unique<HostMath>(); }

}  // namespace shoal::mlp
