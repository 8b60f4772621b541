#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/table/parameter_range.h"
#include "core/table/table_spec.h"

namespace shoal {

/// A parameter of a rule, by its name, and what it may be.
struct RuleParameter {
  std::string name;
  ParameterRange range = range::kAny;

  friend bool operator==(const RuleParameter&, const RuleParameter&) = default;
};

/// An update rule as a server tells the scheduler of it: enough to judge whether a table can have
/// it, and what memory that takes. Rules of plugins and of people's own server binaries are known
/// to servers only.
struct RuleInfo {
  std::string name;
  std::uint8_t dtypes = 0;  ///< bit i: the rule has a form for the DType with the number i
  std::uint8_t inputs = 1;
  Aggregate aggregate = Aggregate::sum;
  std::vector<RuleParameter> parameters = {};  ///< at most kRuleParametersMax
  std::uint8_t states = 0;                     ///< optimizer values per weight
  bool counts_steps = false;                   ///< beside them, how often a segment was updated

  bool takes(DType dtype) const { return (dtypes >> static_cast<unsigned>(dtype) & 1) != 0; }
  friend bool operator==(const RuleInfo&, const RuleInfo&) = default;
};

/// Rules of one server, parameters of one rule, and bytes of the list: such a list fits a join.
inline constexpr std::size_t kRulesMax = 128;
inline constexpr std::size_t kRuleParametersMax = 32;
inline constexpr std::size_t kRulesBytesMax = 512u << 10;

/// Errc::invalid_argument if such a list cannot be told: too many rules, parameters or bytes, or a
/// name of 0 or too many bytes.
Status validate(std::span<const RuleInfo> rules);

/// Whether who has these rules can update a table by `spec`. Errors: unknown_name (with the nearest
/// name; also of a parameter), mismatch (inputs or aggregate differ), unavailable (no form for the
/// dtype; says which there are), out_of_range (a parameter's value; says the range).
Status check_rule(std::span<const RuleInfo> known, const UpdateSpec& spec, DType dtype);

/// Their number, then each.
void encode(Writer& out, std::span<const RuleInfo> rules);
std::vector<RuleInfo> decode_rules(Reader& in);
std::size_t encoded_bytes(std::span<const RuleInfo> rules);

}  // namespace shoal
