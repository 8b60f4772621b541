#include "core/ops/update_rule.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "core/base/nearest.h"
#include "core/ops/simd.h"

namespace shoal {

namespace {

constexpr std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

UpdateRule::UpdateRule(const RuleKind& kind, DType dtype, const RuleKernels& kernels)
    : kind_(&kind),
      dtype_(dtype),
      kernels_(kernels),
      aggregate_(&aggregate_kernels(kind.traits.aggregate, dtype)) {
  kind.construct(functor_.data());
}

Result<const ParameterInfo*> UpdateRule::find(std::string_view name) const {
  std::vector<std::string_view> known;
  for (const auto& info : kind_->parameters) {
    if (info.name == name) return &info;
    known.push_back(info.name);
  }
  if (known.empty())
    return Error{Errc::unknown_name,
                 fmt::format("update rule '{}' has no parameters, so no '{}'", this->name(), name)};
  return Error{Errc::unknown_name, fmt::format("update rule '{}' has no parameter '{}'{}",
                                               this->name(), name, suggest_name(name, known))};
}

Status UpdateRule::set_parameter(std::string_view name, double value) {
  SHOAL_ASSIGN(const auto* info, find(name));
  if (!info->range.contains(value))
    return Error{Errc::out_of_range,
                 fmt::format("parameter '{}' of update rule '{}' ({}) cannot be {}: it must be {}",
                             name, this->name(), info->meaning, value, describe(info->range))};
  info->set(functor_.data(), value);
  return {};
}

Result<double> UpdateRule::parameter(std::string_view name) const {
  SHOAL_ASSIGN(const auto* info, find(name));
  return info->get(functor_.data());
}

UpdateSpec UpdateRule::spec() const {
  UpdateSpec spec{std::string(name()), {}, traits().inputs, traits().aggregate};
  for (const auto& info : kind_->parameters)
    spec.parameters.emplace_back(std::string(info.name), info.get(functor_.data()));
  return spec;
}

StateLayout StateLayout::of(const UpdateRule& rule, std::size_t rows, std::size_t width,
                            bool steps_per_row) {
  return of(rule.traits().states, rule.counts_steps(), rule.dtype(), rows, width, steps_per_row);
}

StateLayout StateLayout::of(std::size_t states, bool counts_steps, DType dtype, std::size_t rows,
                            std::size_t width, bool steps_per_row) {
  const auto value_bytes = byte_size(accumulator_of(dtype));
  const auto array_bytes = width * value_bytes;  // of one state of one row
  const std::size_t step_bytes = counts_steps ? sizeof(std::uint32_t) : 0;
  StateLayout layout;
  layout.steps_per_row = steps_per_row;
  if (steps_per_row) {
    const auto unit = std::max(value_bytes, step_bytes);
    const auto row_bytes = round_up(states * array_bytes + step_bytes, unit);
    layout.state_stride = array_bytes;
    layout.state_row_bytes = row_bytes;
    layout.step_row_bytes = row_bytes;
    layout.steps_offset = states * array_bytes;
    layout.bytes = rows * row_bytes;
  } else {
    // One line more than needed: arrays whose distance is a power of two would share cache sets.
    layout.state_stride = round_up(rows * array_bytes, host::kCacheLine) + host::kCacheLine;
    layout.state_row_bytes = array_bytes;
    layout.steps_offset = states * layout.state_stride;
    layout.bytes = layout.steps_offset + round_up(step_bytes, host::kCacheLine);
  }
  return layout;
}

}  // namespace shoal
