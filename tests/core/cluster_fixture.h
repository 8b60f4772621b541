#pragma once

#include <string>
#include <utility>

#include "core/cluster/cluster_view.h"

// Views for tests, small and large.

namespace shoal {

inline NodeInfo server_node(std::uint32_t id) {
  return {NodeId(id),
          Role::server,
          NodeState::alive,
          Incarnation(id * 1000003ull),
          "server " + std::to_string(id),
          "10.0." + std::to_string(id / 256) + "." + std::to_string(id % 256) + ":4711"};
}
inline NodeInfo worker_node(std::uint32_t id) {
  return {NodeId(id), Role::worker, NodeState::alive, Incarnation(id * 1000033ull), "w", {}};
}
inline SlotChain chain_of(Epoch since, std::initializer_list<std::uint32_t> servers,
                          bool filling = false) {
  SlotChain chain;
  for (const auto id : servers) chain.servers[chain.length++] = NodeId(id);
  chain.filling = filling;
  chain.since = since;
  return chain;
}

/// Two servers, an observer, two workers, a dense and a sparse table.
inline ClusterView small_view() {
  ClusterView view;
  view.epoch = {1, 7};
  view.global_clock = WorkerClock(3);
  view.window = 4;
  view.formed = true;
  view.nodes = {server_node(1), server_node(2), worker_node(3), worker_node(5)};
  view.nodes[1].state = NodeState::suspect;
  view.nodes.push_back({NodeId(300), Role::observer, NodeState::alive, Incarnation(9), "eval", {}});
  TableInfo dense;
  dense.id = TableId(1);
  dense.spec.name = "weights";
  dense.spec.rows = 1000000;
  dense.spec.update = {"sgd", {{"rate", 0.5}}, 1, Aggregate::sum};
  dense.spec.apply = Apply::collective;
  dense.spec.staleness = 2;
  dense.spec.deterministic = true;
  dense.start = WorkerClock(1);
  dense.slots = {chain_of({1, 3}, {1}), chain_of({1, 3}, {1}), chain_of({1, 6}, {2}),
                 chain_of({1, 7}, {})};
  dense.parameters = {{"rate", 0.25, WorkerClock(10)}};
  TableInfo sparse;
  sparse.id = TableId(130);
  sparse.spec.name = "embeddings";
  sparse.spec.layout = Layout::sparse;
  sparse.spec.row_width = 8;
  sparse.spec.dtype = DType::f64;
  sparse.spec.staleness = unbounded;
  sparse.spec.apply = Apply::on_arrival;
  sparse.spec.initializer = {Initializer::Kind::normal, 0, 0.5, 42};
  sparse.slots = {chain_of({1, 5}, {2, 1}), chain_of({1, 5}, {2, 1}, true)};
  view.tables = {dense, sparse};
  view.roster = {{NodeId(5), Rank(0), WorkerClock(0), 0}, {NodeId(3), Rank(2), WorkerClock(7), 1}};
  return view;
}

/// As many servers as given, and a table whose slots are replicated three times over them.
inline ClusterView large_view(std::uint32_t servers, std::uint32_t slots) {
  ClusterView view;
  view.epoch = {1, servers + 1};
  view.formed = true;
  for (std::uint32_t id = 1; id <= servers; ++id) view.nodes.push_back(server_node(id));
  TableInfo table;
  table.id = TableId(1);
  table.spec.name = "model";
  table.spec.rows = std::uint64_t{1} << 40;
  table.spec.apply = Apply::per_clock;
  for (std::uint32_t slot = 0; slot < slots; ++slot) {
    const auto at = [&](std::uint32_t i) { return 1 + (slot * 7 + i * 331) % servers; };
    table.slots.push_back(chain_of(view.epoch, {at(0), at(1), at(2)}));
  }
  view.tables = {table};
  return view;
}

/// What the scheduler makes of a server's death.
inline ClusterView without_server(const ClusterView& view, NodeId dead) {
  auto next = view;
  ++next.epoch.number;
  std::erase_if(next.nodes, [&](const NodeInfo& n) { return n.id == dead; });
  for (auto& table : next.tables)
    for (auto& chain : table.slots) {
      std::initializer_list<std::uint32_t> none;
      auto shorter = chain_of(next.epoch, none);
      for (std::uint8_t i = 0; i < chain.length; ++i)
        if (chain.servers[i] != dead) shorter.servers[shorter.length++] = chain.servers[i];
      if (shorter.length != chain.length) chain = shorter;
    }
  return next;
}

}  // namespace shoal
