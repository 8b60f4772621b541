#include "perf/bench/row.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "perf/bench/sides.h"
#include "perf/host.h"

namespace shoal::perf {

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// What the environment sets for Shoal's side.
nlohmann::ordered_json tried_settings() {
  auto settings = nlohmann::ordered_json::object();
  if (const auto config = Config::from_env(); config.ok())
    for (const auto& option : config->show())
      if (config->origins.contains(option.name)) settings[option.name] = option.value;
  return settings;
}

std::string verdict_of(const Outcome& outcome) {
  if (outcome.row->goal.of == Goal::Of::none) return "";
  return outcome.met() ? "met" : "NOT MET";
}

std::string shown(std::optional<double> value) {
  if (!value) return "-";
  return fmt::format("{:.{}f}", *value, *value >= 100 ? 0 : *value >= 10 ? 1 : 2);
}

}  // namespace

std::string Goal::to_string() const {
  if (of == Of::none) return "";
  return fmt::format("{} {} {:g}", of == Of::ratio ? "ratio" : "value",
                     bound == Bound::at_most ? "<=" : ">=", limit);
}

Result<Outcome> run_row(const Row& row, const Effort& effort, std::uint32_t runs) {
  Outcome outcome;
  outcome.row = &row;
  std::vector<double> ratios;
  for (std::uint32_t i = 0; i < runs; ++i) {
    if (row.raw) {
      SHOAL_ASSIGN(const auto raw, row.raw(effort));
      outcome.raws.push_back(raw);
    }
    SHOAL_ASSIGN(const auto value, row.ours(effort));
    outcome.values.push_back(value);
    if (row.raw && outcome.raws.back() > 0) ratios.push_back(value / outcome.raws.back());
  }
  outcome.value = median(outcome.values);
  if (!outcome.raws.empty()) outcome.raw = median(outcome.raws);
  if (!ratios.empty()) outcome.ratio = median(ratios);
  return outcome;
}

std::vector<Row> suite_rows() {
  std::vector<Row> rows;
  add_small_rows(rows);
  add_stream_rows(rows);
  add_group_rows(rows);
  add_sparse_rows(rows);
  add_ops_rows(rows);
  add_memory_rows(rows);
  add_ucx_rows(rows);
  add_verbs_rows(rows);
#ifdef SHOAL_HAS_CUDA
  add_cuda_rows(rows);
#endif
  // Raw sides in processes of their own: their buffers would be inherited by those of later rows.
  for (auto& row : rows)
    if (row.raw)
      row.raw = [raw = std::move(row.raw)](const Effort& effort) {
        return run_alone("raw side", [&] { return raw(effort); });
      };
  return rows;
}

std::string table_head() {
  return fmt::format("{:<34} {:>9} {:<8} {:>9} {:>7}  {:<14} {}", "row", "value", "unit", "raw",
                     "ratio", "goal", "");
}

std::string table_line(const Outcome& outcome, bool verdict) {
  return fmt::format("{:<34} {:>9} {:<8} {:>9} {:>7}  {:<14} {}", outcome.row->name,
                     shown(outcome.value), outcome.row->unit, shown(outcome.raw),
                     shown(outcome.ratio), outcome.row->goal.to_string(),
                     verdict ? verdict_of(outcome) : "");
}

std::string json_of(const std::vector<Outcome>& outcomes, const std::string& commit, bool verdict) {
  using Json = nlohmann::ordered_json;
  Json all = {{"host", host_description()},
              {"load_average", system_load().average},  // at the end
              {"commit", commit},
              {"settings", tried_settings()},
              {"results", Json::array()}};
  for (const auto& outcome : outcomes) {
    Json result = {{"name", outcome.row->name},
                   {"value", outcome.value},
                   {"unit", outcome.row->unit},
                   {"raw", outcome.raw ? Json(*outcome.raw) : Json()},
                   {"ratio", outcome.ratio ? Json(*outcome.ratio) : Json()},
                   {"goal", outcome.row->goal.to_string()},
                   {"values", outcome.values},
                   {"raws", outcome.raws}};
    if (verdict && outcome.row->goal.of != Goal::Of::none) result["met"] = outcome.met();
    all["results"].push_back(std::move(result));
  }
  return all.dump(2);
}

}  // namespace shoal::perf
