#include "core/table/rule_info.h"

#include <fmt/core.h>

#include <algorithm>

#include "core/base/nearest.h"
#include "core/table/geometry.h"

namespace shoal {

namespace {

/// dtypes, inputs, aggregate, states, counts_steps, and how many parameters follow
constexpr std::size_t kFixedBytes = 5 + sizeof(std::uint32_t);
constexpr std::size_t kRangeBytes = 2 * sizeof(double) + 1;
constexpr unsigned kLowIncluded = 1;
constexpr unsigned kHighIncluded = 2;
constexpr unsigned kFlag = 4;

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

bool is_name(const std::string& name) { return !name.empty() && name.size() <= kTableNameBytesMax; }

Status check_parameter(const RuleInfo& rule, std::string_view name, double value) {
  std::vector<std::string_view> names;
  for (const auto& parameter : rule.parameters) {
    if (parameter.name != name) {
      names.push_back(parameter.name);
      continue;
    }
    if (parameter.range.contains(value)) return {};
    return Error{Errc::out_of_range,
                 fmt::format("parameter '{}' of update rule '{}' cannot be {}: it must be {}", name,
                             rule.name, value, describe(parameter.range))};
  }
  return Error{Errc::unknown_name,
               fmt::format("update rule '{}' has no parameter{} '{}'{}", rule.name,
                           names.empty() ? "s, so no" : "", name, suggest_name(name, names))};
}

void encode(Writer& out, const RuleParameter& parameter) {
  const auto& range = parameter.range;
  out.put_string(parameter.name);
  out.put(range.low);
  out.put(range.high);
  out.put(static_cast<std::uint8_t>((range.low_included ? kLowIncluded : 0) |
                                    (range.high_included ? kHighIncluded : 0) |
                                    (range.flag ? kFlag : 0)));
}

RuleParameter decode_parameter(Reader& in) {
  RuleParameter parameter;
  parameter.name = in.get_string(kTableNameBytesMax);
  const auto low = in.get<double>();
  const auto high = in.get<double>();
  const auto bits = in.get<std::uint8_t>();
  parameter.range = {low, high, (bits & kLowIncluded) != 0, (bits & kHighIncluded) != 0,
                     (bits & kFlag) != 0};
  if (parameter.name.empty() || !(low <= high) || bits >= 2 * kFlag) in.fail();
  return parameter;
}

}  // namespace

Status validate(std::span<const RuleInfo> rules) {
  if (rules.size() > kRulesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("a server has at most {} update rules, this one has {}: leave out "
                             "plugins that are not needed",
                             kRulesMax, rules.size())};
  for (const auto& rule : rules) {
    if (!is_name(rule.name))
      return Error{Errc::invalid_argument,
                   fmt::format("an update rule's name has 1 to {} bytes, '{}' has {}",
                               kTableNameBytesMax, rule.name, rule.name.size())};
    if (rule.parameters.size() > kRuleParametersMax)
      return Error{Errc::invalid_argument,
                   fmt::format("update rule '{}' has {} parameters, at most {} are possible",
                               rule.name, rule.parameters.size(), kRuleParametersMax)};
    for (const auto& parameter : rule.parameters)
      if (!is_name(parameter.name) || !(parameter.range.low <= parameter.range.high))
        return Error{
            Errc::invalid_argument,
            fmt::format("parameter '{}' of update rule '{}': a name has 1 to {} bytes, and "
                        "the least value is not above the greatest",
                        parameter.name, rule.name, kTableNameBytesMax)};
  }
  if (encoded_bytes(rules) > kRulesBytesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("the names of the update rules and of their parameters take {} bytes, "
                             "at most {} are possible: leave out plugins that are not needed",
                             encoded_bytes(rules), kRulesBytesMax)};
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
  for (const auto& [name, value] : spec.parameters) SHOAL_TRY(check_parameter(*rule, name, value));
  return {};
}

void encode(Writer& out, std::span<const RuleInfo> rules) {
  out.put(static_cast<std::uint32_t>(rules.size()));
  for (const auto& rule : rules) {
    out.put_string(rule.name);
    out.put(rule.dtypes);
    out.put(rule.inputs);
    out.put(rule.aggregate);
    out.put(rule.states);
    out.put_bool(rule.counts_steps);
    out.put(static_cast<std::uint32_t>(rule.parameters.size()));
    for (const auto& parameter : rule.parameters) encode(out, parameter);
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
    rule.states = in.get<std::uint8_t>();
    rule.counts_steps = in.get_bool();
    if (rule.name.empty() || rule.dtypes >> kDTypeCount != 0 || rule.inputs == 0 ||
        rule.inputs > kInputsMax || rule.states > kRuleStatesMax)
      in.fail();
    const auto parameters = in.get_count(sizeof(std::uint32_t) + 1 + kRangeBytes);
    if (parameters > kRuleParametersMax) in.fail();
    for (std::uint32_t k = 0; k < parameters && in.ok(); ++k)
      rule.parameters.push_back(decode_parameter(in));
    rules.push_back(std::move(rule));
  }
  return rules;
}

std::size_t encoded_bytes(std::span<const RuleInfo> rules) {
  std::size_t bytes = sizeof(std::uint32_t);
  for (const auto& rule : rules) {
    bytes += sizeof(std::uint32_t) + rule.name.size() + kFixedBytes;
    for (const auto& parameter : rule.parameters)
      bytes += sizeof(std::uint32_t) + parameter.name.size() + kRangeBytes;
  }
  return bytes;
}

}  // namespace shoal
