#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/memory/device_memory.h"
#include "core/ops/update_rule.h"
#include "perf/bench/hand_rules.h"

namespace shoal::perf {

/// A built-in rule over rows of one type, and the factors of its form by hand (see HandRule).
struct RuleCase {
  std::string rule;  ///< of both
  DType dtype;       ///< f32, f16 or bf16
  UpdateSpec spec;
  std::array<float, 6> (*factors)(std::uint32_t step);
  /// Values that an update reads and writes: once each of inputs, weight (which assign does not
  /// read) and states.
  std::size_t values_touched;

  /// "adam", "bf16/adam"
  std::string name() const;
  /// Bytes of values and states that an update of a weight reads and writes.
  std::size_t bytes_touched() const;
};
std::span<const RuleCase> rule_cases();

/// Rows of one value under one rule, and a push for each of them: segments, states and inputs
/// lie in memory as a server has them.
class RuleField {
 public:
  /// About `bytes` in all, in segments of `segment_values`. Errors: no_memory.
  static Result<RuleField> create(const RuleCase& rule, std::size_t bytes,
                                  std::size_t segment_values = kSegmentBytes / sizeof(float));
  /// Applies all pushes, segment after segment: by the kernels as DenseStore does, or by hand.
  void apply();
  void apply_by_hand(HandForm form);
  /// What one of them reads and writes.
  std::size_t bytes_touched() const { return segments_ * values_ * case_->bytes_touched(); }

  std::size_t weight_count() const { return segments_ * values_; }
  std::size_t input_count() const { return weight_count() * rule_.traits().inputs; }
  float weight(std::size_t i) const { return value(weights_, i); }
  void set_weight(std::size_t i, float x) { set_value(weights_, i, x); }
  void set_input(std::size_t i, float x) { set_value(inputs_, i, x); }
  std::span<const std::byte> states() const { return {states_.data(), states_.bytes()}; }

 private:
  RuleField(const RuleCase& rule, UpdateRule made, StateLayout layout, std::size_t segments,
            std::size_t values);
  Status allocate();
  float value(const DeviceMemory& memory, std::size_t i) const;
  void set_value(DeviceMemory& memory, std::size_t i, float x);
  template <class F>
  void fill(DeviceMemory& memory, const F& value_at);
  std::size_t value_bytes() const { return byte_size(case_->dtype); }
  DenseRows rows(std::size_t segment) const;
  std::byte* inputs_of(std::size_t segment) const;

  const RuleCase* case_;
  UpdateRule rule_;
  StateLayout layout_;
  std::size_t segments_, values_;
  std::size_t state_bytes_;  ///< from one segment's states to the next one's
  std::uint32_t step_ = 0;
  DeviceMemory weights_, states_, inputs_;
};

}  // namespace shoal::perf
