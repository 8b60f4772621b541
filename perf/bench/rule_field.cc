#include "perf/bench/rule_field.h"

#include <algorithm>
#include <cstring>

#include "core/ops/rule_set.h"
#include "core/ops/rules.h"
#include "server/store/memory.h"

namespace shoal::perf {

namespace {

using Factors = std::array<float, 6>;

// With both penalties, so that no work is skipped.
constexpr Sgd kSgd;
constexpr Momentum kMomentum;
constexpr Adagrad kAdagrad;
constexpr Adam kAdam;
constexpr Ftrl kFtrl{.l1 = 0.01, .l2 = 0.02};
constexpr Proximal kProximal{.l1 = 0.01, .l2 = 0.02};
constexpr ProximalDiagonal kDiagonal{.l1 = 0.01, .l2 = 0.02};

float f32(double x) { return static_cast<float>(x); }

Factors none(std::uint32_t) { return {}; }
Factors of_sgd(std::uint32_t) { return {f32(kSgd.learning_rate)}; }
Factors of_momentum(std::uint32_t) {
  return {f32(kMomentum.learning_rate), f32(kMomentum.momentum)};
}
Factors of_adagrad(std::uint32_t) { return {f32(kAdagrad.learning_rate), f32(kAdagrad.epsilon)}; }
Factors of_adam(std::uint32_t t) {
  const auto step = kAdam.at_step(t);
  return {f32(step.beta1), f32(step.beta2), f32(step.rest1),
          f32(step.rest2), f32(step.rate),  f32(step.epsilon)};
}
Factors of_ftrl(std::uint32_t) {
  return {f32(1 / kFtrl.alpha), f32(kFtrl.beta / kFtrl.alpha + kFtrl.l2), f32(kFtrl.l1)};
}
Factors of_proximal(std::uint32_t) {
  return {f32(kProximal.learning_rate), f32(kProximal.learning_rate * kProximal.l1),
          f32(1 / (1 + kProximal.learning_rate * kProximal.l2))};
}
Factors of_diagonal(std::uint32_t) {
  return {f32(kDiagonal.step), f32(kDiagonal.l1), f32(kDiagonal.l2)};
}

}  // namespace

std::string RuleCase::name() const {
  return dtype == DType::f32 ? rule : std::string(name_of(dtype)) + '/' + rule;
}

std::size_t RuleCase::bytes_touched() const {
  const auto traits = RuleSet::builtin().find(rule)->traits;
  const std::size_t of_states = 2 * traits.states;  // read and written
  return of_states * sizeof(float) + (values_touched - of_states) * byte_size(dtype);
}

std::span<const RuleCase> rule_cases() {
  static const auto cases = [] {
    std::vector<RuleCase> all = {
        {"assign", DType::f32, Assign{}, none, 2},
        {"add", DType::f32, Add{}, none, 3},
        {"min", DType::f32, Min{}, none, 3},
        {"max", DType::f32, Max{}, none, 3},
        {"sgd", DType::f32, kSgd, of_sgd, 3},
        {"momentum", DType::f32, kMomentum, of_momentum, 5},
        {"adagrad", DType::f32, kAdagrad, of_adagrad, 5},
        {"adam", DType::f32, kAdam, of_adam, 7},
        {"ftrl", DType::f32, kFtrl, of_ftrl, 7},
        {"proximal", DType::f32, kProximal, of_proximal, 3},
        {"proximal_diagonal", DType::f32, kDiagonal, of_diagonal, 4},
    };
    const auto wide = all;
    for (const auto dtype : {DType::f16, DType::bf16})
      for (auto rule : wide) {
        rule.dtype = dtype;
        all.push_back(std::move(rule));
      }
    return all;
  }();
  return cases;
}

RuleField::RuleField(const RuleCase& rule, UpdateRule made, StateLayout layout,
                     std::size_t segments, std::size_t values)
    : case_(&rule),
      rule_(std::move(made)),
      layout_(layout),
      segments_(segments),
      values_(values),
      state_bytes_(layout.bytes == 0 ? 0 : SegmentPool::block_bytes(layout.bytes)) {}

Result<RuleField> RuleField::create(const RuleCase& rule, std::size_t bytes,
                                    std::size_t segment_values) {
  SHOAL_ASSIGN(auto made, RuleSet::builtin().make(rule.spec, rule.dtype));
  const auto layout = StateLayout::of(made, segment_values, 1, false);
  const auto each =
      segment_values * byte_size(rule.dtype) * (1 + made.traits().inputs) + layout.bytes;
  const auto segments = std::max<std::size_t>(1, bytes / each);
  RuleField field(rule, std::move(made), layout, segments, segment_values);
  SHOAL_TRY(field.allocate());
  return field;
}

float RuleField::value(const DeviceMemory& memory, std::size_t i) const {
  float x = 0;
  aggregate_kernels(Aggregate::sum, case_->dtype)
      .start(reinterpret_cast<std::byte*>(&x), memory.data() + i * value_bytes(), 1);
  return x;
}

void RuleField::set_value(DeviceMemory& memory, std::size_t i, float x) {
  aggregate_kernels(Aggregate::sum, case_->dtype)
      .finish(memory.data() + i * value_bytes(), reinterpret_cast<const std::byte*>(&x), 1);
}

template <class F>
void RuleField::fill(DeviceMemory& memory, const F& value_at) {
  const auto& kernels = aggregate_kernels(Aggregate::sum, case_->dtype);
  const auto count = memory.bytes() / value_bytes();
  std::array<float, 1024> some;
  for (std::size_t at = 0; at < count; at += some.size()) {
    const auto n = std::min(some.size(), count - at);
    for (std::size_t i = 0; i < n; ++i) some[i] = value_at(at + i);
    kernels.finish(memory.data() + at * value_bytes(), reinterpret_cast<std::byte*>(some.data()),
                   n);
  }
}

Status RuleField::allocate() {
  static HostDevice host;
  const auto bytes = weight_count() * value_bytes();
  const Device::AllocateOptions huge{.huge_pages = true};
  SHOAL_ASSIGN(weights_, DeviceMemory::create(host, bytes, huge));
  SHOAL_ASSIGN(inputs_, DeviceMemory::create(host, bytes * rule_.traits().inputs, huge));
  if (state_bytes_ != 0) {
    SHOAL_ASSIGN(states_, DeviceMemory::create(host, segments_ * state_bytes_, huge));
    std::memset(states_.data(), 0, states_.bytes());
  }
  // Both signs, no value so small that it is denormal, and bounds of proximal_diagonal above 0.
  fill(weights_, [](std::size_t i) {
    return (i % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(1 + i % 1021) / 64;
  });
  fill(inputs_, [pairs = rule_.traits().inputs == 2](std::size_t i) {
    if (pairs && i % 2 == 1) return 1 + static_cast<float>(i % 7);
    return (i % 3 == 0 ? 1.0f : -1.0f) * static_cast<float>(1 + i % 251) / 128;
  });
  for (std::size_t s = 0; s < segments_; ++s) rule_.reset(rows(s));
  return {};
}

DenseRows RuleField::rows(std::size_t segment) const {
  return {layout_.arrays(rule_, weights_.data() + segment * values_ * value_bytes(),
                         states_.data() + segment * state_bytes_),
          layout_.shape(1, 0), 0, values_};
}

std::byte* RuleField::inputs_of(std::size_t segment) const {
  return inputs_.data() + segment * values_ * rule_.traits().inputs * value_bytes();
}

void RuleField::apply() {
  for (std::size_t s = 0; s < segments_; ++s) {
    const auto dense = rows(s);
    if (dense.arrays.steps != nullptr) ++*dense.arrays.steps;
    rule_.apply(dense, inputs_of(s));
  }
}

void RuleField::apply_by_hand(HandForm form) {
  const auto type = case_->dtype == DType::f16    ? HandType::f16
                    : case_->dtype == DType::bf16 ? HandType::bf16
                                                  : HandType::f32;
  const auto* by_hand = hand_rule(case_->rule, type, form);
  const auto factors = case_->factors(++step_);
  for (std::size_t s = 0; s < segments_; ++s) {
    const auto dense = rows(s);
    if (dense.arrays.steps != nullptr) ++*dense.arrays.steps;
    HandRows hand{dense.arrays.weights, {}, inputs_of(s), values_};
    for (std::size_t k = 0; k < rule_.traits().states; ++k)
      hand.states[k] = reinterpret_cast<float*>(dense.arrays.states + k * layout_.state_stride);
    by_hand->run(hand, factors.data());
  }
}

}  // namespace shoal::perf
