#include "server/store/table_rules.h"

#include <algorithm>
#include <limits>

namespace shoal {

TableRules::TableRules(const TableInfo& table, UpdateRule rule, const RowKernels& kernels)
    : id_(table.id),
      spec_(table.spec),
      geometry_(table.geometry()),
      start_(table.start),
      window_(table.window()),
      kernels_(&kernels) {
  stages_.push_back({WorkerClock(std::numeric_limits<std::int64_t>::min()), rule});
}

Result<TableRules> TableRules::create(const TableInfo& table, const RuleSet& rules,
                                      DeviceKind device) {
  SHOAL_ASSIGN(auto rule, rules.make(table.spec.update, table.spec.dtype, device));
  TableRules made(table, rule, rules.rows(device));
  SHOAL_TRY(made.update(table));
  return made;
}

Status TableRules::update(const TableInfo& table) {
  Status status;
  for (; changes_seen_ < table.parameters.size(); ++changes_seen_) {
    const auto& change = table.parameters[changes_seen_];
    const auto from = sums() ? change.from_clock : stages_.front().from;
    auto at = std::lower_bound(stages_.begin(), stages_.end(), from,
                               [](const Stage& s, WorkerClock c) { return s.from < c; });
    if (at == stages_.end() || at->from != from)
      at = stages_.insert(at, {from, std::prev(at)->rule});
    // In the order of the changes, so a later change overrides an earlier one from its clock on.
    for (; at != stages_.end(); ++at)
      if (auto set = at->rule.set_parameter(change.name, change.value); !set.ok()) status = set;
  }
  return status;
}

WorkerClock TableRules::next_change(WorkerClock c) const {
  for (const auto& stage : stages_)
    if (stage.from > c) return stage.from;
  return WorkerClock(std::numeric_limits<std::int64_t>::max());
}

const UpdateRule& TableRules::rule_at(WorkerClock c) const {
  if (stages_.size() == 1) return stages_.front().rule;
  const auto after = std::upper_bound(stages_.begin(), stages_.end(), c,
                                      [](WorkerClock v, const Stage& s) { return v < s.from; });
  return std::prev(after)->rule;
}

}  // namespace shoal
