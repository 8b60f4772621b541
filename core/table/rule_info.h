#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/table/table_spec.h"

namespace shoal {

/// An update rule as a server tells the scheduler of it: enough to judge whether a table can have
/// it. Rules of plugins and of people's own server binaries are known to servers only.
struct RuleInfo {
  std::string name;
  std::uint8_t dtypes = 0;  ///< bit i: the rule has a form for the DType with the number i
  std::uint8_t inputs = 1;
  Aggregate aggregate = Aggregate::sum;

  bool takes(DType dtype) const { return (dtypes >> static_cast<unsigned>(dtype) & 1) != 0; }
  friend bool operator==(const RuleInfo&, const RuleInfo&) = default;
};

/// Rules of one server: the list fits a join, whatever their names are.
inline constexpr std::size_t kRulesMax = 128;

/// Errc::invalid_argument if such a list cannot be told: too many, or a name of 0 or too many
/// bytes.
Status validate(std::span<const RuleInfo> rules);

/// Whether who has these rules can update a table by `spec`. Errors: unknown_name (with the nearest
/// name), mismatch (inputs or aggregate differ), unavailable (no form for the dtype; says which
/// there are).
Status check_rule(std::span<const RuleInfo> known, const UpdateSpec& spec, DType dtype);

/// Their number, then each.
void encode(Writer& out, std::span<const RuleInfo> rules);
std::vector<RuleInfo> decode_rules(Reader& in);
std::size_t encoded_bytes(std::span<const RuleInfo> rules);

}  // namespace shoal
