#include "core/ops/rule_set.h"

#include <fmt/core.h>

#include "core/base/assert.h"
#include "core/base/nearest.h"

namespace shoal {

namespace {

std::string_view name_of(DeviceKind device) { return device == DeviceKind::host ? "host" : "cuda"; }

}  // namespace

Status RuleSet::attach(std::string_view name, DeviceKind device, const RuleKernelTable& kernels) {
  for (auto& entry : entries_)
    if (entry.kind->traits.name == name) {
      entry.kernels[static_cast<std::size_t>(device)] = &kernels;
      return {};
    }
  return Error{Errc::unknown_name, fmt::format("no update rule '{}'{} to attach {} kernels to",
                                               name, suggest_name(name, names()), name_of(device))};
}

std::vector<std::string_view> RuleSet::names() const {
  std::vector<std::string_view> names;
  for (const auto& entry : entries_) names.push_back(entry.kind->traits.name);
  return names;
}

std::vector<RuleInfo> RuleSet::infos(DeviceKind device) const {
  std::vector<RuleInfo> infos;
  for (const auto& entry : entries_) {
    const auto& traits = entry.kind->traits;
    RuleInfo info{std::string(traits.name), 0, traits.inputs, traits.aggregate};
    info.states = traits.states;
    info.counts_steps = entry.kind->counts_steps;
    for (const auto& parameter : entry.kind->parameters)
      info.parameters.push_back({std::string(parameter.name), parameter.range});
    if (const auto* table = entry.kernels[static_cast<std::size_t>(device)])
      for (std::uint8_t i = 0; i < kDTypeCount; ++i)
        if ((*table)[i].apply_dense != nullptr)
          info.dtypes = static_cast<std::uint8_t>(info.dtypes | 1u << i);
    infos.push_back(std::move(info));
  }
  return infos;
}

const RowKernels& RuleSet::rows(DeviceKind device) const {
  if (device == DeviceKind::host) return host_row_kernels();
  const auto* kernels = rows_[static_cast<std::size_t>(device)];
  SHOAL_ASSERT(kernels != nullptr, "rules were attached to a device, and no kernels for rows");
  return *kernels;
}

const RuleKind* RuleSet::find(std::string_view name) const {
  for (const auto& entry : entries_)
    if (entry.kind->traits.name == name) return entry.kind;
  return nullptr;
}

Result<UpdateRule> RuleSet::make(const UpdateSpec& spec, DType dtype, DeviceKind device) const {
  const Entry* found = nullptr;
  for (const auto& entry : entries_)
    if (entry.kind->traits.name == spec.rule) found = &entry;
  const auto* table = found == nullptr ? nullptr : found->kernels[static_cast<std::size_t>(device)];
  if (found != nullptr && table == nullptr)
    return Error{Errc::unavailable,
                 fmt::format("update rule '{}' has no {} form", spec.rule, name_of(device))};
  SHOAL_TRY(check_rule(infos(device), spec, dtype));
  const auto& kernels = (*table)[static_cast<std::size_t>(dtype)];
  UpdateRule rule(*found->kind, dtype, kernels);
  for (const auto& [name, value] : spec.parameters) SHOAL_TRY(rule.set_parameter(name, value));
  return rule;
}

}  // namespace shoal
