// `shoal drop`: takes tables out of the cluster.

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "core/base/log.h"
#include "core/base/nearest.h"
#include "server/cli/commands.h"
#include "server/cli/scheduler_client.h"

namespace shoal::cli {

namespace {

/// The tables of these names, each once. Errors: unknown_name with what there is; refused while
/// workers, who may use them, are there.
Result<std::vector<const TableInfo*>> find_tables(const ClusterView& view,
                                                  const DropOptions& options) {
  std::vector<std::string_view> known;
  for (const auto& table : view.tables) known.push_back(table.spec.name);
  std::vector<const TableInfo*> tables;
  for (const auto& name : options.tables) {
    const auto* table = view.find_table(name);
    if (table == nullptr)
      return Error{Errc::unknown_name,
                   fmt::format("there is no table '{}'{}", name, suggest_name(name, known))};
    if (std::find(tables.begin(), tables.end(), table) == tables.end()) tables.push_back(table);
  }
  if (!view.roster.empty() && !options.force)
    return Error{Errc::refused,
                 fmt::format("there are workers in the cluster ({}), and whatever they still do "
                             "with a table that is dropped fails; --force drops it all the same",
                             view.roster.size())};
  return tables;
}

Status drop(SchedulerClient& scheduler, const DropOptions& options) {
  SHOAL_ASSIGN(const auto view, scheduler.view());
  SHOAL_ASSIGN(const auto tables, find_tables(view, options));
  for (const auto* table : tables) {
    SHOAL_TRY(scheduler.drop_table(table->id));
    fmt::print("dropped table '{}'\n", table->spec.name);
  }
  return {};
}

}  // namespace

int drop_tables(const Config& config, const DropOptions& options) {
  if (!config.origins.contains("log_level")) set_log_level(LogLevel::off);  // all is said below
  const SteadyClock clock;
  auto scheduler = SchedulerClient::create(config, clock);
  const auto dropped = scheduler.ok() ? drop(*scheduler, options) : Status(scheduler.error());
  return dropped.ok() ? 0 : fail("drop", dropped.error());
}

}  // namespace shoal::cli
