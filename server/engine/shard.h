#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cluster/cluster_view.h"
#include "core/ops/rule_set.h"
#include "server/engine/slot.h"
#include "server/limits.h"

namespace shoal {

/// A table as one server has it.
struct TableState {
  TableId id;
  std::unique_ptr<TableRules> rules;  ///< null: `broken` says why
  Errc broken = Errc::ok;             ///< Answers every request to the table but burns.
  std::string why;
  std::vector<std::unique_ptr<SlotState>> slots;  ///< by index; null: not here
};

/// The segments that one loop owns, on one Device: made and dropped as views say. Belongs to one
/// loop.
class Shard {
 public:
  /// Rows are on `device`, what the CPU hands to it in memory of `host`, which the device reaches.
  /// Errors: no_memory (the copies on write do not fit the budget).
  static Result<std::unique_ptr<Shard>> create(Device& device, Device& host, const RuleSet& rules,
                                               const ServerLimits& limits, ServerMetrics& metrics);

  /// Takes over a view: drops the tables and slots that are not here any more (each announced by
  /// `before_drop` first), makes new ones, changes parameters. Workers that left must have been
  /// forgotten before. What could not be done is logged and makes its table `broken`.
  void update(const ClusterView& view, NodeId self,
              const std::function<void(SlotState&, Errc)>& before_drop);

  /// Follows the roster; returns the members that are gone, for whom the caller has to drop what
  /// waits before `forget`.
  std::span<const MemberIndex> update_members(const ClusterView& view) {
    return members_.update(view);
  }
  void forget(MemberIndex member);

  TableState* find(TableId id);
  /// Calls f(SlotState&) for every slot that is here.
  template <class F>
  void for_each_slot(F&& f) {
    for (auto& table : tables_)
      for (auto& slot : table->slots)
        if (slot != nullptr) f(*slot);
  }

  /// Whether work on rows is done later than it is issued.
  bool late() const { return scratch_.lists.has_value(); }
  Device& device() { return pool_.device(); }
  const Members& members() const { return members_; }
  const MemoryBudget& budget() const { return budget_; }
  const CopyQuota& copies() const { return copies_; }
  /// Peers READ segments by it; outlives the shard.
  void set_exporter(Exporter& exporter) { pool_.set_exporter(exporter); }
  StoreContext context() {
    return {host_,    pool_,   host_pool_ ? *host_pool_ : pool_, budget_, copies_, scratch_,
            members_, metrics_};
  }

 private:
  Shard(Device& device, Device& host, const RuleSet& rules, const ServerLimits& limits,
        ServerMetrics& metrics);
  void make_slots(TableState& table, const TableInfo& info, NodeId self,
                  const std::function<void(SlotState&, Errc)>& before_drop);
  void give_up(TableState& table, const Error& error,
               const std::function<void(SlotState&, Errc)>& before_drop);

  HostDevice host_memory_;
  Device& host_;  ///< for what the CPU alone looks at
  const RuleSet& rules_;
  ServerMetrics& metrics_;
  MemoryBudget budget_;
  CopyQuota copies_;
  SegmentPool pool_;
  // Of a server on a device, for what it keeps in host memory.
  std::optional<MemoryBudget> host_budget_;
  std::optional<SegmentPool> host_pool_;
  Scratch scratch_;
  Members members_;
  std::vector<std::unique_ptr<TableState>> tables_;  ///< by id
};

}  // namespace shoal
