#include "group/group_table.h"

#include <fmt/core.h>

#include "core/ops/rule_set.h"
#include "core/table/geometry.h"

namespace shoal {

namespace {

Error refusal(const TableSpec& spec, std::string_view why) {
  return {Errc::invalid_argument,
          fmt::format("a group of workers and table '{}': {}", spec.name, why)};
}

/// Whether one push of a sum of gradients is the same as one push of each.
bool composes(const TableSpec& spec) {
  const auto rules = RuleSet::builtin();
  const auto* rule = rules.find(spec.update.rule);
  return rule != nullptr && rule->traits.repeats_compose;
}

}  // namespace

Status GroupTableHandle::validate(const TableSpec& spec, const Group& group,
                                  const GroupTableOptions& options) {
  if (spec.layout == Layout::sparse)
    return refusal(spec,
                   "members share out ranges of rows, which sparse tables do not have; push "
                   "its keys without the group");
  if (spec.update.aggregate == Aggregate::last)
    return refusal(spec, fmt::format("of pushes the rule '{}' keeps the last, and members have no "
                                     "order; let one member push",
                                     spec.update.rule));
  if (spec.deterministic && !group.sums_by_rank())
    return refusal(spec,
                   "it is deterministic, and NCCL sums in an order of its own; open the group "
                   "with GroupAlgorithm::host, or the table without deterministic");
  if (spec.apply_mode() == Apply::on_arrival && group.size() > 1 && !options.one_step_per_group &&
      !composes(spec))
    return refusal(spec, fmt::format("it applies each push on arrival, and the rule '{}' makes one "
                                     "step of a sum where it would make {}; take per_clock, or "
                                     "allow it with one_step_per_group",
                                     spec.update.rule, group.size()));
  return {};
}

Shares GroupTableHandle::shares(RowRange rows) const {
  return {rows, group_->size(), Geometry::rows_per_segment(spec_)};
}

RowRange GroupTableHandle::share(RowRange rows) const { return shares(rows).of(group_->rank()); }

GroupWork GroupTableHandle::work(RowRange rows, std::uint64_t row_values, WorkerClock clock) const {
  return {.dtype = spec_.dtype,
          .aggregate = spec_.update.aggregate,
          .shares = shares(rows.begin <= rows.end ? rows : RowRange{}),
          .row_values = row_values,
          .table = id_.value,
          .clock = clock.value};
}

Status GroupTableHandle::check_rows(RowRange rows) const {
  if (rows.begin <= rows.end && rows.end <= spec_.rows) return {};
  return Error{Errc::out_of_range, fmt::format("rows [{}, {}) of table '{}', which has {}",
                                               rows.begin, rows.end, spec_.name, spec_.rows)};
}

}  // namespace shoal
