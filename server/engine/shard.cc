#include "server/engine/shard.h"

#include <algorithm>

#include "core/base/log.h"

namespace shoal {

namespace {
/// Lists of parts that a device has yet to read: of the largest, some three.
constexpr std::size_t kListRoomBytes = std::size_t{16} << 20;
}  // namespace

Shard::Shard(Device& device, Device& host, const RuleSet& rules, const ServerLimits& limits,
             ServerMetrics& metrics)
    : host_(device.space() == MemorySpace::cuda ? host_memory_ : host),
      rules_(rules),
      metrics_(metrics),
      budget_(limits.memory_bytes),
      copies_(limits.copies_max),
      pool_(device, budget_) {}

Result<std::unique_ptr<Shard>> Shard::create(Device& device, Device& host, const RuleSet& rules,
                                             const ServerLimits& limits, ServerMetrics& metrics) {
  std::unique_ptr<Shard> shard(new Shard(device, host, rules, limits, metrics));
  SHOAL_TRY(
      shard->budget_.take(std::uint64_t{limits.copies_max} * kSegmentBytes, "the copies on write"));
  if (device.space() == MemorySpace::cuda) {
    SHOAL_TRY(shard->scratch_.use_device(host, device, kListRoomBytes));
    shard->host_budget_.emplace(limits.memory_bytes);
    shard->host_pool_.emplace(shard->host_, *shard->host_budget_);
  }
  return shard;
}

TableState* Shard::find(TableId id) {
  const auto at = std::lower_bound(tables_.begin(), tables_.end(), id,
                                   [](const auto& t, TableId wanted) { return t->id < wanted; });
  return at != tables_.end() && (*at)->id == id ? at->get() : nullptr;
}

void Shard::forget(MemberIndex member) {
  for_each_slot([&](SlotState& slot) { slot.forget(member); });
}

void Shard::give_up(TableState& table, const Error& error,
                    const std::function<void(SlotState&, Errc)>& before_drop) {
  log_error("server", "table '{}' cannot be served: {}",
            table.rules ? table.rules->spec().name : "?", error.message());
  table.broken = error.code;
  table.why = error.what;
  for (auto& slot : table.slots) {
    if (slot != nullptr) before_drop(*slot, error.code);
    slot.reset();
  }
}

void Shard::make_slots(TableState& table, const TableInfo& info, NodeId self,
                       const std::function<void(SlotState&, Errc)>& before_drop) {
  table.slots.resize(info.slots.size());
  for (std::uint32_t i = 0; i < info.slots.size(); ++i) {
    const auto& chain = info.slots[i];
    const auto* end = chain.servers + chain.length;
    const bool here = std::find(chain.servers, end, self) != end;
    auto& slot = table.slots[i];
    if (!here) {
      if (slot != nullptr) before_drop(*slot, Errc::stale_view);
      slot.reset();
      continue;
    }
    if (slot != nullptr) {
      slot->chain = chain;
      continue;
    }
    auto made = SlotState::create(*table.rules, SlotIndex(i), chain, context());
    if (!made.ok()) return give_up(table, made.error(), before_drop);
    slot = std::move(made).value();
  }
}

void Shard::update(const ClusterView& view, NodeId self,
                   const std::function<void(SlotState&, Errc)>& before_drop) {
  const auto dropped = std::erase_if(tables_, [&](const std::unique_ptr<TableState>& table) {
    if (view.find_table(table->id) != nullptr) return false;
    for (auto& slot : table->slots)
      if (slot != nullptr) before_drop(*slot, Errc::unknown_name);
    return true;
  });
  if (dropped != 0) pool_.trim();
  if (dropped != 0 && host_pool_) host_pool_->trim();
  for (const auto& info : view.tables) {
    auto* table = find(info.id);
    if (table == nullptr) {
      auto state = std::make_unique<TableState>();
      state->id = info.id;
      auto rules = TableRules::create(info, rules_, late() ? DeviceKind::cuda : DeviceKind::host);
      if (rules.ok()) {
        state->rules = std::make_unique<TableRules>(std::move(rules).value());
      } else {
        log_error("server", "table '{}' cannot be served: {}", info.spec.name,
                  rules.error().message());
        state->broken = rules.code();
        state->why = rules.error().what;
      }
      const auto at = std::lower_bound(tables_.begin(), tables_.end(), info.id,
                                       [](const auto& t, TableId id) { return t->id < id; });
      table = tables_.insert(at, std::move(state))->get();
    } else if (table->rules != nullptr) {
      if (auto status = table->rules->update(info); !status.ok())
        log_error("server", "table '{}': {}", info.spec.name, status.error().message());
    }
    if (table->broken == Errc::ok) make_slots(*table, info, self, before_drop);
  }
  // The roster may have changed under rounds that lacked only those who left.
  for_each_slot([](SlotState& slot) { slot.fold_waiting(); });
}

}  // namespace shoal
