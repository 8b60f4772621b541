// What `shoal status` shows: the scheduler's picture of the cluster, as JSON.

#include <chrono>
#include <nlohmann/json.hpp>

#include "server/scheduler/scheduler.h"

namespace shoal {

namespace {

/// A status is one frame: of larger clusters it shows a part, and the totals.
constexpr std::size_t kNodesShown = 2048;
constexpr std::size_t kTablesShown = 256;
constexpr std::size_t kServersShown = 64;

nlohmann::json table_json(const TableInfo& table) {
  std::map<std::uint32_t, std::uint32_t> slots_of;
  std::uint32_t lost = 0;
  for (const auto& chain : table.slots) {
    if (chain.lost())
      ++lost;
    else
      ++slots_of[chain.head().value];
  }
  nlohmann::json placement = nlohmann::json::array();
  for (const auto& [server, count] : slots_of)
    if (placement.size() < kServersShown)
      placement.push_back({{"server", server}, {"slots", count}});
  const auto& spec = table.spec;
  nlohmann::json json = {
      {"id", table.id.value},
      {"name", spec.name},
      {"dtype", name_of(spec.dtype)},
      {"layout", spec.layout == Layout::dense ? "dense" : "sparse"},
      {"rows", spec.rows},
      {"row_width", spec.row_width},
      {"rule", spec.update.rule},
      {"apply", name_of(spec.apply_mode())},
      {"slots", table.slots.size()},
      {"slots_lost", lost},
      {"placement", placement},
  };
  json["staleness"] =
      spec.staleness == unbounded ? nlohmann::json("unbounded") : nlohmann::json(spec.staleness);
  return json;
}

}  // namespace

std::string Scheduler::status_json(TimePoint now) const {
  const auto& view = *view_;
  // Nobody holds others back where all stand at the same clock.
  const auto slowest = membership_.straggler({});
  const bool behind = slowest.others + 1 < view.roster.size();
  nlohmann::json nodes = nlohmann::json::array();
  for (const auto& node : view.nodes) {
    if (nodes.size() == kNodesShown) break;
    nlohmann::json json = {{"id", node.id.value},
                           {"role", name_of(node.role)},
                           {"name", node.name},
                           {"address", node.address},
                           {"state", node.state == NodeState::suspect ? "suspect" : "alive"}};
    if (const auto at = membership_.vitals().find(node.id); at != membership_.vitals().end()) {
      const auto& vitals = at->second;
      json["silent_ms"] =
          std::chrono::duration_cast<std::chrono::milliseconds>(now - vitals.last_heard).count();
      json["turns"] = vitals.turns;
      if (vitals.hung && node.state == NodeState::alive) json["state"] = "hung";
      if (const auto* entry = view.find_worker(node.id)) {
        json["rank"] = entry->rank.value;
        json["clock"] = std::max(entry->start, vitals.tick.local).value;
        json["reported"] = std::max(entry->start, vitals.tick.reported).value;
      }
      // Of a worker what it pushed and pulled, of a server what came and went.
      json["bytes_pushed"] = vitals.tick.bytes_pushed;
      json["bytes_pulled"] = vitals.tick.bytes_pulled;
      json["pushes"] = vitals.tick.pushes;
      json["pulls"] = vitals.tick.pulls;
      json["parked"] = vitals.tick.parked;
    }
    nodes.push_back(std::move(json));
  }
  nlohmann::json tables = nlohmann::json::array();
  for (const auto& table : view.tables)
    if (tables.size() < kTablesShown) tables.push_back(table_json(table));
  const nlohmann::json status = {
      {"epoch", {{"term", view.epoch.term}, {"number", view.epoch.number}}},
      {"trouble", trouble_},
      {"formed", view.formed},
      {"waiting_for", view.formed && !membership_.recovering() ? "" : membership_.waiting_for()},
      {"global_clock", membership_.global_clock().value},
      {"straggler", behind ? slowest.worker.value : 0},
      {"window", view.window},
      {"nodes_total", view.nodes.size()},
      {"tables_total", view.tables.size()},
      {"nodes", nodes},
      {"tables", tables},
  };
  // Names are a peer's bytes: what is not UTF-8 is replaced, not thrown about.
  return status.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace shoal
