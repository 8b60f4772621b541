#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/base/assert.h"
#include "core/base/result.h"
#include "core/memory/dtype.h"
#include "core/ops/aggregate.h"
#include "core/ops/rule_kind.h"

namespace shoal {

/// Where kernels run.
enum class DeviceKind : std::uint8_t { host, cuda };
inline constexpr std::size_t kDeviceKindCount = 2;

/// An update rule with its parameters, bound to a dtype and a kind of device: what a table's
/// segments are updated with. A value; made by RuleSet::make. Belongs to one loop where parameters
/// change.
class UpdateRule {
 public:
  std::string_view name() const { return kind_->traits.name; }
  const RuleTraits& traits() const { return kind_->traits; }
  DType dtype() const { return dtype_; }
  /// Whether the rule needs SegmentArrays::steps.
  bool counts_steps() const { return kind_->counts_steps; }
  /// Whether rows change in rounds without a push. Where the rule runs once a clock, a row's missed
  /// clocks must be caught up before it is read or updated.
  bool has_decay() const { return kind_->has_decay; }
  std::span<const ParameterInfo> parameters() const { return kind_->parameters; }

  /// Takes effect from the next call on. Errors: unknown_name (with the nearest known name),
  /// out_of_range (with the range).
  Status set_parameter(std::string_view name, double value);
  Result<double> parameter(std::string_view name) const;
  /// With all parameters' present values.
  UpdateSpec spec() const;

  // The kernels: see RuleKernels. On the host they are done on return; on CUDA they run in
  // `stream`.

  /// Applies pushed rows [first, first + count) of a segment. Of a rule that counts steps, the
  /// caller has raised the segment's count.
  void apply(const DenseRows& rows, RuleInputs inputs, RuleKernels::Stream stream = {}) const {
    kernels_.apply_dense(functor_.data(), rows, inputs, stream);
  }
  /// Combines what was pushed to each of these rows and applies it, in one pass: on CUDA. All have
  /// the same number of pushes, up to DensePushes::kMax, as pushed or (`sums`) of sums. Of a rule
  /// that counts steps, the caller has raised each segment's count.
  void apply(const RowShape& shape, std::span<const DensePushes> rows, bool sums,
             RuleKernels::Stream stream) const {
    SHOAL_ASSERT(kernels_.apply_pushes != nullptr, "the host adds up pushes as they come");
    kernels_.apply_pushes(functor_.data(), shape, rows, sums, stream);
  }
  /// Applies listed rows one after another. Rows may repeat if traits().repeats_compose.
  void apply(const ListedRows& rows, RuleInputs inputs, RuleKernels::Stream stream = {}) const {
    kernels_.apply_rows(functor_.data(), rows, inputs, stream);
  }
  /// Gives rows whose weights were just set (initialised, stored) the states that belong to them,
  /// and listed rows a step count of 0.
  void reset(const DenseRows& rows, RuleKernels::Stream stream = {}) const {
    kernels_.reset_dense(functor_.data(), rows, stream);
  }
  void reset(const ListedRows& rows, RuleKernels::Stream stream = {}) const {
    kernels_.reset_rows(functor_.data(), rows, stream);
  }
  /// Makes up for `missed` rounds without a push. Does nothing for rules without decay.
  void catch_up(const DenseRows& rows, std::uint64_t missed,
                RuleKernels::Stream stream = {}) const {
    if (has_decay()) kernels_.catch_up_dense(functor_.data(), rows, missed, stream);
  }
  /// missed[r] rounds for listed row r; rows are distinct.
  void catch_up(const ListedRows& rows, std::span<const std::uint64_t> missed,
                RuleKernels::Stream stream = {}) const {
    SHOAL_ASSERT(missed.size() == rows.positions.size(), "one count for each row");
    if (has_decay()) kernels_.catch_up_rows(functor_.data(), rows, missed.data(), stream);
  }

  /// How pushes combine before the rule sees them, on the host.
  const AggregateKernels& aggregate() const { return *aggregate_; }

 private:
  friend class RuleSet;
  UpdateRule(const RuleKind& kind, DType dtype, const RuleKernels& kernels);
  Result<const ParameterInfo*> find(std::string_view name) const;

  const RuleKind* kind_;
  DType dtype_;
  RuleKernels kernels_;
  const AggregateKernels* aggregate_;
  alignas(std::max_align_t) std::array<std::byte, kRuleBytesMax> functor_{};
};

/// How a segment's optimizer values lie in one buffer. See RowShape for the two ways and why.
struct StateLayout {
  std::size_t state_stride = 0;  ///< for RowShape, as the next two
  std::size_t state_row_bytes = 0;
  std::size_t step_row_bytes = sizeof(std::uint32_t);
  bool steps_per_row = false;
  std::size_t steps_offset = 0;  ///< bytes; where the (first) step count is
  std::size_t bytes = 0;         ///< of the whole; 0: the rule keeps nothing

  /// For segments of up to `rows` rows. `steps_per_row`: pages of sparse rows, each row's states
  /// side by side with its count; else dense segments, one array per state.
  static StateLayout of(const UpdateRule& rule, std::size_t rows, std::size_t width,
                        bool steps_per_row);
  /// Of a rule that keeps `states` values for each weight, known by its RuleInfo only.
  static StateLayout of(std::size_t states, bool counts_steps, DType dtype, std::size_t rows,
                        std::size_t width, bool steps_per_row);
  RowShape shape(std::uint32_t width, std::uint32_t page_shift) const {
    return {width, page_shift, state_stride, steps_per_row, state_row_bytes, step_row_bytes};
  }
  /// The arrays of a segment with these weights and `bytes` bytes of states, which must be zeroed
  /// (for the step counts) and then reset when the segment is made.
  SegmentArrays arrays(const UpdateRule& rule, std::byte* weights, std::byte* states) const {
    return {
        weights, states,
        rule.counts_steps() ? reinterpret_cast<std::uint32_t*>(states + steps_offset) : nullptr};
  }
};

}  // namespace shoal
