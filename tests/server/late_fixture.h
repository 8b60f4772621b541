#pragma once

#include <cstdint>
#include <utility>

#include "core/cluster/cluster_view.h"
#include "server/store/segment.h"
#include "tests/support/late_device.h"

namespace shoal::test {

/// What stores need around them, with rows on a LateDevice.
struct LateFixture {
  LateFixture() {
    SHOAL_ASSERT(scratch.use_device(pinned, device, std::size_t{256} << 10).ok(), "memory");
    SHOAL_ASSERT(scratch.need_merger(host).ok(), "memory");
  }
  TableRules rules(const TableSpec& spec, std::uint32_t slots) {
    TableInfo info;
    info.id = TableId(1);
    info.spec = spec;
    info.slots.resize(slots);
    return std::move(TableRules::create(info, rule_set, DeviceKind::cuda)).value();
  }
  StoreContext context() {
    return {host, pool, host_pool, budget, copies, scratch, members, metrics};
  }

  HostDevice host;
  PinnedHost pinned;
  LateDevice device;
  MemoryBudget budget{std::uint64_t{1} << 30};
  CopyQuota copies{4};
  SegmentPool pool{device, budget};
  MemoryBudget host_budget{std::uint64_t{1} << 30};
  SegmentPool host_pool{host, host_budget};
  Scratch scratch;
  Members members;
  ServerMetrics metrics;
  RuleSet rule_set = test::late_rules();
};

}  // namespace shoal::test
