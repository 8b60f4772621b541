#include "core/table/rule_info.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/base/nearest.h"
#include "core/table/geometry.h"

namespace shoal {

namespace {

constexpr std::size_t kFixedBytes = 3;  // dtypes, inputs, aggregate

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

/// "f32, f64".
std::string dtypes_of(const RuleInfo& rule) {
  std::string text;
  for (std::uint8_t i = 0; i < kDTypeCount; ++i)
    if (const auto dtype = static_cast<DType>(i); rule.takes(dtype))
      text += fmt::format("{}{}", text.empty() ? "" : ", ", name_of(dtype));
  return text.empty() ? "none" : text;
}

}  // namespace

Status validate(std::span<const RuleInfo> rules) {
  if (rules.size() > kRulesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("a server has at most {} update rules, this one has {}: leave out "
                             "plugins that are not needed",
                             kRulesMax, rules.size())};
  for (const auto& rule : rules)
    if (rule.name.empty() || rule.name.size() > kTableNameBytesMax)
      return Error{Errc::invalid_argument,
                   fmt::format("an update rule's name has 1 to {} bytes, '{}' has {}",
                               kTableNameBytesMax, rule.name, rule.name.size())};
  return {};
}

Status check_rule(std::span<const RuleInfo> known, const UpdateSpec& spec, DType dtype) {
  const auto rule = std::find_if(known.begin(), known.end(),
                                 [&](const RuleInfo& info) { return info.name == spec.rule; });
  if (rule == known.end()) {
    std::vector<std::string_view> names;
    for (const auto& info : known) names.push_back(info.name);
    return Error{Errc::unknown_name,
                 fmt::format("no update rule '{}'{}: a rule of your own must be in the server's "
                             "binary or in a plugin (shoal server --plugin x.so)",
                             spec.rule, suggest_name(spec.rule, names))};
  }
  if (spec.inputs != rule->inputs || spec.aggregate != rule->aggregate)
    return Error{
        Errc::mismatch,
        fmt::format("update rule '{}' takes {} values per weight combined by {}; the table "
                    "asks for {} by {}: program and server differ in the rule",
                    rule->name, rule->inputs, name_of(rule->aggregate), spec.inputs,
                    name_of(spec.aggregate))};
  if (!rule->takes(dtype))
    return Error{Errc::unavailable, fmt::format("update rule '{}' has no {} form; it has {}",
                                                rule->name, name_of(dtype), dtypes_of(*rule))};
  return {};
}

void encode(Writer& out, std::span<const RuleInfo> rules) {
  out.put(static_cast<std::uint32_t>(rules.size()));
  for (const auto& rule : rules) {
    out.put_string(rule.name);
    out.put(rule.dtypes);
    out.put(rule.inputs);
    out.put(rule.aggregate);
  }
}

std::vector<RuleInfo> decode_rules(Reader& in) {
  const auto count = in.get_count(sizeof(std::uint32_t) + 1 + kFixedBytes);
  if (count > kRulesMax) in.fail();
  std::vector<RuleInfo> rules;
  for (std::uint32_t i = 0; i < count && in.ok(); ++i) {
    RuleInfo rule;
    rule.name = in.get_string(kTableNameBytesMax);
    rule.dtypes = in.get<std::uint8_t>();
    rule.inputs = in.get<std::uint8_t>();
    rule.aggregate = in.get_enum<Aggregate>(4);
    if (rule.name.empty() || rule.dtypes >> kDTypeCount != 0 || rule.inputs == 0 ||
        rule.inputs > kInputsMax)
      in.fail();
    rules.push_back(std::move(rule));
  }
  return rules;
}

std::size_t encoded_bytes(std::span<const RuleInfo> rules) {
  std::size_t bytes = sizeof(std::uint32_t);
  for (const auto& rule : rules) bytes += sizeof(std::uint32_t) + rule.name.size() + kFixedBytes;
  return bytes;
}

}  // namespace shoal
