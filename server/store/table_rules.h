#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/cluster/cluster_view.h"
#include "core/ops/rule_set.h"
#include "core/ops/update_rule.h"
#include "core/table/geometry.h"

namespace shoal {

/// What all slots of a table share on one server: its arithmetic, its update rule with the changes
/// of its parameters over the clocks, and how rows and states lie in memory. Belongs to one loop.
class TableRules {
 public:
  /// Errors: those of RuleSet::make (the rule is not known here, has no form for the dtype ...).
  static Result<TableRules> create(const TableInfo& table, const RuleSet& rules,
                                   DeviceKind device = DeviceKind::host);

  /// Takes over changes of parameters that a new view brought. Changes the rule does not know are
  /// returned as the error, and skipped: the others hold.
  Status update(const TableInfo& table);

  TableId id() const { return id_; }
  const TableSpec& spec() const { return spec_; }
  const Geometry& geometry() const { return geometry_; }
  Apply apply() const { return spec_.apply_mode(); }
  bool sums() const { return apply() != Apply::on_arrival; }
  WorkerClock start() const { return start_; }
  std::int64_t window() const { return window_; }
  std::uint32_t inputs() const { return stages_.front().rule.traits().inputs; }
  /// The values of all inputs of a row.
  std::size_t row_values() const { return std::size_t{spec_.row_width} * inputs(); }
  std::size_t pushed_row_bytes() const { return spec_.row_bytes() * inputs(); }
  /// Of the sum of pushes of a row.
  std::size_t sum_row_bytes() const {
    return row_values() * byte_size(accumulator_of(spec_.dtype));
  }

  /// The rule as it is for clock c; for on_arrival tables as it is now.
  const UpdateRule& rule_at(WorkerClock c) const;
  /// The first clock after c for which the rule's parameters differ.
  WorkerClock next_change(WorkerClock c) const;
  const UpdateRule& rule() const { return stages_.back().rule; }
  /// What is done to rows beside that, on the table's kind of device.
  const RowKernels& kernels() const { return *kernels_; }

 private:
  /// A rule that holds from a clock on until the next stage's.
  struct Stage {
    WorkerClock from;
    UpdateRule rule;
  };
  TableRules(const TableInfo& table, UpdateRule rule, const RowKernels& kernels);

  TableId id_;
  TableSpec spec_;
  Geometry geometry_;
  WorkerClock start_;
  std::int64_t window_;
  std::vector<Stage> stages_;  ///< by `from`; never empty
  std::size_t changes_seen_ = 0;
  const RowKernels* kernels_;
};

}  // namespace shoal
