#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/random.h"
#include "core/ops/rule_set.h"
#include "core/ops/rules.h"
#include "server/store/segment.h"
#include "server/store/table_rules.h"

namespace shoal::perf {

/// What a store needs around it. Programs that measure have nobody to tell of an error: it ends
/// them.
struct StoreParts {
  StoreParts() { SHOAL_ASSERT(scratch.need_merger(device).ok(), "no memory"); }

  /// A table of one slot, applied on arrival.
  TableRules rules(Layout layout, std::uint64_t rows, const UpdateSpec& update) {
    TableInfo info;
    info.id = TableId(1);
    info.spec.name = "t";
    info.spec.layout = layout;
    info.spec.rows = rows;
    info.spec.update = update;
    info.spec.apply = Apply::on_arrival;
    info.spec.staleness = unbounded;
    info.slots.resize(1);
    return TableRules::create(info, rule_set).value();
  }
  StoreContext context() { return {device, pool, pool, budget, copies, scratch, members, metrics}; }

  HostDevice device;
  MemoryBudget budget{std::uint64_t{4} << 30};
  CopyQuota copies{4};
  SegmentPool pool{device, budget};
  Scratch scratch;
  Members members;
  ServerMetrics metrics;
  RuleSet rule_set = RuleSet::builtin();
};

inline std::vector<Key> random_list(std::uint64_t seed, std::size_t count) {
  Random random(seed);
  std::vector<Key> keys(count);
  for (auto& key : keys) key = random.next();
  return keys;
}

inline std::byte* bytes_of(std::vector<float>& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

}  // namespace shoal::perf
