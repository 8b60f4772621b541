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

std::span<const RuleCase> rule_cases() {
  static const std::vector<RuleCase> cases = {
      {"assign", Assign{}, none, 2},
      {"add", Add{}, none, 3},
      {"min", Min{}, none, 3},
      {"max", Max{}, none, 3},
      {"sgd", kSgd, of_sgd, 3},
      {"momentum", kMomentum, of_momentum, 5},
      {"adagrad", kAdagrad, of_adagrad, 5},
      {"adam", kAdam, of_adam, 7},
      {"ftrl", kFtrl, of_ftrl, 7},
      {"proximal", kProximal, of_proximal, 3},
      {"proximal_diagonal", kDiagonal, of_diagonal, 4},
  };
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
  SHOAL_ASSIGN(auto made, RuleSet::builtin().make(rule.spec, DType::f32));
  const auto layout = StateLayout::of(made, segment_values, 1, false);
  const auto each = segment_values * sizeof(float) * (1 + made.traits().inputs) + layout.bytes;
  const auto segments = std::max<std::size_t>(1, bytes / each);
  RuleField field(rule, std::move(made), layout, segments, segment_values);
  SHOAL_TRY(field.allocate());
  return field;
}

Status RuleField::allocate() {
  static HostDevice host;
  const auto bytes = segments_ * values_ * sizeof(float);
  const Device::AllocateOptions huge{.huge_pages = true};
  SHOAL_ASSIGN(weights_, DeviceMemory::create(host, bytes, huge));
  SHOAL_ASSIGN(inputs_, DeviceMemory::create(host, bytes * rule_.traits().inputs, huge));
  if (state_bytes_ != 0) {
    SHOAL_ASSIGN(states_, DeviceMemory::create(host, segments_ * state_bytes_, huge));
    std::memset(states_.data(), 0, states_.bytes());
  }
  // Both signs, no value so small that it is denormal, and bounds of proximal_diagonal above 0.
  for (std::size_t i = 0; i < weights().size(); ++i)
    weights()[i] = (i % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(1 + i % 1021) / 64;
  for (std::size_t i = 0; i < inputs().size(); ++i)
    inputs()[i] = (i % 3 == 0 ? 1.0f : -1.0f) * static_cast<float>(1 + i % 251) / 128;
  if (rule_.traits().inputs == 2)
    for (std::size_t i = 1; i < inputs().size(); i += 2)
      inputs()[i] = 1 + static_cast<float>(i % 7);
  for (std::size_t s = 0; s < segments_; ++s) rule_.reset(rows(s));
  return {};
}

DenseRows RuleField::rows(std::size_t segment) const {
  return {layout_.arrays(rule_, weights_.data() + segment * values_ * sizeof(float),
                         states_.data() + segment * state_bytes_),
          layout_.shape(1, 0), 0, values_};
}

std::byte* RuleField::inputs_of(std::size_t segment) const {
  return inputs_.data() + segment * values_ * rule_.traits().inputs * sizeof(float);
}

void RuleField::apply() {
  for (std::size_t s = 0; s < segments_; ++s) {
    const auto dense = rows(s);
    if (dense.arrays.steps != nullptr) ++*dense.arrays.steps;
    rule_.apply(dense, inputs_of(s));
  }
}

void RuleField::apply_by_hand(HandForm form) {
  const auto* by_hand = hand_rule(case_->name, form);
  const auto factors = case_->factors(++step_);
  for (std::size_t s = 0; s < segments_; ++s) {
    const auto dense = rows(s);
    if (dense.arrays.steps != nullptr) ++*dense.arrays.steps;
    HandRows hand{reinterpret_cast<float*>(dense.arrays.weights),
                  {},
                  reinterpret_cast<const float*>(inputs_of(s)),
                  values_};
    for (std::size_t k = 0; k < rule_.traits().states; ++k)
      hand.states[k] = reinterpret_cast<float*>(dense.arrays.states + k * layout_.state_stride);
    by_hand->run(hand, factors.data());
  }
}

}  // namespace shoal::perf
