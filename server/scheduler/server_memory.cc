#include "server/scheduler/server_memory.h"

#include <fmt/core.h>

#include <algorithm>

namespace shoal {

namespace {

StateLayout states_of(const TableSpec& spec, const Geometry& geometry,
                      std::span<const RuleInfo> rules) {
  const auto rule = std::find_if(rules.begin(), rules.end(), [&](const RuleInfo& info) {
    return info.name == spec.update.rule;
  });
  return rule == rules.end() ? StateLayout{}
                             : dense_states(spec, geometry, rule->states, rule->counts_steps);
}

/// What each server holds of the dense tables that are there.
std::map<NodeId, DenseMemory> taken_by(const ClusterView& view, std::span<const RuleInfo> rules) {
  std::map<NodeId, DenseMemory> taken;
  for (const auto& table : view.tables) {
    if (table.spec.layout != Layout::dense) continue;
    const auto geometry = table.geometry();
    const auto states = states_of(table.spec, geometry, rules);
    for (std::uint32_t i = 0; i < table.slots.size(); ++i) {
      const auto memory = dense_memory(table.spec, geometry, SlotIndex(i), states);
      const auto& chain = table.slots[i];
      for (std::uint8_t k = 0; k < chain.length; ++k) taken[chain.servers[k]].add(memory);
    }
  }
  return taken;
}

std::string mib(std::uint64_t bytes) {
  return fmt::format("{} MiB", (bytes >> 20) + ((bytes & 0xfffff) != 0 ? 1 : 0));
}

}  // namespace

ServerMemory::ServerMemory(const std::vector<MemoryOfServer>& stored) {
  for (const auto& one : stored) bytes_[one.server] = one.bytes;
}

std::vector<MemoryOfServer> ServerMemory::stored() const {
  std::vector<MemoryOfServer> all;
  for (const auto& [server, bytes] : bytes_) all.push_back({server, bytes});
  return all;
}

Status ServerMemory::has_room(const ClusterView& view, std::span<const RuleInfo> rules,
                              const TableSpec& spec, std::span<const NodeId> placed) const {
  if (spec.layout != Layout::dense) return {};
  const Geometry geometry(spec, static_cast<std::uint32_t>(placed.size()));
  const auto states = states_of(spec, geometry, rules);
  std::map<NodeId, DenseMemory> wanted;
  for (std::uint32_t i = 0; i < placed.size(); ++i)
    wanted[placed[i]].add(dense_memory(spec, geometry, SlotIndex(i), states));
  auto taken = taken_by(view, rules);
  for (const auto& [server, memory] : wanted) {
    const auto has = bytes_.find(server);
    if (has == bytes_.end()) continue;
    const auto sparse = sparse_.find(server);
    const auto rows = sparse == sparse_.end() ? 0 : std::min(sparse->second, has->second);
    const auto held = std::min(taken[server].total(), has->second - rows) + rows;
    if (memory.total() <= has->second - held) continue;
    const auto* node = view.find_node(server);
    return Error{
        Errc::no_memory,
        fmt::format("table '{}' needs {} on {} ({} of values, {} of states, {} of sums of open "
                    "clocks); of the {} that it has for tables {} are taken: raise the servers' "
                    "memory_budget, add servers, drop tables{}",
                    spec.name, mib(memory.total()), node == nullptr ? "a server" : node->name,
                    mib(memory.values), mib(memory.states), mib(memory.sums), mib(has->second),
                    mib(held), memory.sums != 0 ? " or use a smaller staleness" : "")};
  }
  return {};
}

}  // namespace shoal
