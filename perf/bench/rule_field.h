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

/// A built-in rule, and the factors of its form by hand (see HandRule).
struct RuleCase {
  std::string name;  ///< of both
  UpdateSpec spec;
  std::array<float, 6> (*factors)(std::uint32_t step);
  /// Values that an update reads and writes: once each of inputs, weight (which assign does not
  /// read) and states.
  std::size_t values_touched;
};
std::span<const RuleCase> rule_cases();

/// f32 rows of one value under one rule, and a push for each of them: segments, states and inputs
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
  std::size_t bytes_touched() const { return segments_ * values_ * case_->values_touched * 4; }

  std::span<float> weights() { return floats(weights_, segments_ * values_); }
  std::span<float> inputs() { return floats(inputs_, inputs_.bytes() / sizeof(float)); }
  std::span<const std::byte> states() const { return {states_.data(), states_.bytes()}; }

 private:
  RuleField(const RuleCase& rule, UpdateRule made, StateLayout layout, std::size_t segments,
            std::size_t values);
  Status allocate();
  static std::span<float> floats(const DeviceMemory& memory, std::size_t count) {
    return {reinterpret_cast<float*>(memory.data()), count};
  }
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
