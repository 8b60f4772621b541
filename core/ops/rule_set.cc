#include "core/ops/rule_set.h"

#include <fmt/core.h>

#include "core/base/nearest.h"

namespace shoal {

namespace {

std::string_view name_of(DeviceKind device) { return device == DeviceKind::host ? "host" : "cuda"; }

std::string_view name_of(Aggregate aggregate) {
  switch (aggregate) {
    case Aggregate::sum:
      return "sum";
    case Aggregate::last:
      return "last";
    case Aggregate::min:
      return "min";
    case Aggregate::max:
      return "max";
  }
  return "?";
}

/// The dtypes a table has kernels for: "f32, f64".
std::string dtypes_of(const RuleKernelTable& table) {
  std::string text;
  for (std::uint8_t i = 0; i < kDTypeCount; ++i)
    if (table[i].apply_dense != nullptr)
      text += fmt::format("{}{}", text.empty() ? "" : ", ", name_of(static_cast<DType>(i)));
  return text;
}

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

const RuleKind* RuleSet::find(std::string_view name) const {
  for (const auto& entry : entries_)
    if (entry.kind->traits.name == name) return entry.kind;
  return nullptr;
}

Result<UpdateRule> RuleSet::make(const UpdateSpec& spec, DType dtype, DeviceKind device) const {
  const Entry* found = nullptr;
  for (const auto& entry : entries_)
    if (entry.kind->traits.name == spec.rule) found = &entry;
  if (found == nullptr)
    return Error{Errc::unknown_name,
                 fmt::format("no update rule '{}'{}: a rule of your own must be in the server's "
                             "binary or in a plugin (shoal server --plugin x.so)",
                             spec.rule, suggest_name(spec.rule, names()))};
  const auto& traits = found->kind->traits;
  if (spec.inputs != traits.inputs || spec.aggregate != traits.aggregate)
    return Error{
        Errc::mismatch,
        fmt::format("update rule '{}' takes {} values per weight combined by {}; the table "
                    "asks for {} by {}: program and server differ in the rule",
                    traits.name, traits.inputs, name_of(traits.aggregate), spec.inputs,
                    name_of(spec.aggregate))};
  const auto* table = found->kernels[static_cast<std::size_t>(device)];
  if (table == nullptr)
    return Error{Errc::unavailable,
                 fmt::format("update rule '{}' has no {} form", traits.name, name_of(device))};
  const auto& kernels = (*table)[static_cast<std::size_t>(dtype)];
  if (kernels.apply_dense == nullptr)
    return Error{Errc::unavailable,
                 fmt::format("update rule '{}' has no {} form on the {}; it has {}", traits.name,
                             name_of(dtype), name_of(device), dtypes_of(*table))};
  UpdateRule rule(*found->kind, dtype, kernels);
  for (const auto& [name, value] : spec.parameters) SHOAL_TRY(rule.set_parameter(name, value));
  return rule;
}

}  // namespace shoal
