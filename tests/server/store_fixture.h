#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/ops/rule_set.h"
#include "core/ops/rules.h"
#include "server/store/segment.h"
#include "server/store/table_rules.h"

namespace shoal::test {

/// What a store needs around it, with a roster that the test chooses.
struct StoreFixture {
  explicit StoreFixture(std::uint32_t copies_max = 4, std::uint64_t memory = std::uint64_t{1} << 30)
      : budget(memory), copies(copies_max) {
    SHOAL_ASSERT(scratch.need_merger(device).ok(), "memory");
  }

  /// A roster of `workers` with NodeIds 100, 101, ... in the order of rank, all starting at
  /// `start`.
  void set_roster(std::vector<std::uint32_t> workers, std::int64_t start = 0) {
    ClusterView view;
    for (std::uint32_t rank = 0; rank < workers.size(); ++rank)
      view.roster.push_back({NodeId(workers[rank]), Rank(rank), WorkerClock(start), 0});
    const auto gone = members.update(view);
    members_gone.assign(gone.begin(), gone.end());
  }
  MemberIndex member(std::uint32_t node) const { return members.find(NodeId(node)); }

  TableRules rules(const TableSpec& spec, std::uint32_t slots,
                   std::vector<ParameterChange> parameters = {}, std::int64_t start = 0) {
    TableInfo info;
    info.id = TableId(1);
    info.spec = spec;
    info.start = WorkerClock(start);
    info.slots.resize(slots);
    info.parameters = std::move(parameters);
    auto made = TableRules::create(info, rule_set);
    SHOAL_ASSERT(made.ok(), made.ok() ? "" : made.error().what.c_str());
    return std::move(made).value();
  }
  StoreContext context() { return {device, pool, pool, budget, copies, scratch, members, metrics}; }

  HostDevice device;
  MemoryBudget budget;
  CopyQuota copies;
  SegmentPool pool{device, budget};
  Scratch scratch;
  Members members;
  std::vector<MemberIndex> members_gone;
  ServerMetrics metrics;
  RuleSet rule_set = RuleSet::builtin();
};

template <class T>
const std::byte* bytes_of(const std::vector<T>& values) {
  return reinterpret_cast<const std::byte*>(values.data());
}
template <class T>
std::byte* bytes_of(std::vector<T>& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

}  // namespace shoal::test
