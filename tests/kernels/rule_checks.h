#pragma once

#include <cstddef>
#include <string_view>

#include "core/ops/row_kernels.h"
#include "core/ops/rule_kind.h"
#include "tests/core/rule_references.h"
#include "tests/kernels/target.h"

namespace shoal::test {

/// Whose kernels are checked.
class RuleTarget : public Target {
 public:
  /// Those of a built-in rule.
  virtual const RuleKernelTable& kernels(std::string_view rule) = 0;
  virtual const RowKernels& rows() = 0;
  /// Adds `packed` rows to rows by position.
  virtual void scatter_add(const ListedRows& rows, DType dtype, const std::byte* packed) = 0;
};

// Each compares them with the host's own kernels, bit for bit, over all types of the rule, widths,
// and lengths at which blocks, packs and tails begin and end.

/// Runs of rows, on packs and beside them; states and rows around them stay.
void check_dense(RuleTarget& target, const Reference& reference);
/// More segments than a launch holds, of unlike lengths, by 1 to 16 pushes each.
void check_pushes(RuleTarget& target, const Reference& reference);
/// Listed rows of several pages, in any order, with counts of their own.
void check_listed(RuleTarget& target, const Reference& reference);
/// Rounds without a push.
void check_catching_up(RuleTarget& target, const Reference& reference);
/// Rows of any width and type to anywhere, and back; rows that are not there are left out.
void check_copies(RuleTarget& target);
/// The host's bits of all kinds of initial values.
void check_initial_rows(RuleTarget& target);
/// Sums of pushes, of rows one behind the other and listed, in all ways to combine.
void check_sums(RuleTarget& target);
/// Rows that repeat are added all, in whatever order.
void check_additions(RuleTarget& target);

}  // namespace shoal::test
