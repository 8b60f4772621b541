// `shoal status`: asks the scheduler and draws its answer.

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/base/log.h"
#include "server/cli/commands.h"
#include "server/cli/scheduler_client.h"

namespace shoal::cli {

namespace {

using Json = nlohmann::json;

constexpr Duration kWatchInterval = std::chrono::seconds(1);

std::string bytes(std::uint64_t count) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(count);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", count) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

// The answer comes from another process, perhaps of another release: what is not there, or is not
// what it should be, reads as a default.

const Json& member(const Json& object, const char* name) {
  static const Json kNone;
  const auto at = object.find(name);
  return at == object.end() ? kNone : *at;
}

std::int64_t number(const Json& object, const char* name) {
  const auto& value = member(object, name);
  return value.is_number_integer() ? value.get<std::int64_t>() : 0;
}

std::string text(const Json& object, const char* name) {
  const auto& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

/// "8 on node 1, 7 on node 2, 1 lost": where a table's slots are.
std::string placement(const Json& table) {
  std::string line;
  const auto add = [&](const std::string& some) { line += (line.empty() ? "" : ", ") + some; };
  for (const auto& some : member(table, "placement"))
    add(fmt::format("{} on node {}", number(some, "slots"), number(some, "server")));
  if (const auto lost = number(table, "slots_lost"); lost != 0) add(fmt::format("{} lost", lost));
  return line;
}

/// How wide the column of a text is: `heading`, or the longest of them.
std::size_t width_of(const Json& rows, const char* name, std::string_view heading) {
  auto width = heading.size();
  for (const auto& row : rows)
    if (row.is_object()) width = std::max(width, text(row, name).size());
  return width;
}

bool is_status(const Json& status) {
  return status.is_object() && member(status, "epoch").is_object() &&
         member(status, "nodes").is_array() && member(status, "tables").is_array();
}

void draw_nodes(const Json& nodes, std::int64_t straggler) {
  const auto name = width_of(nodes, "name", "name"),
             address = width_of(nodes, "address", "address");
  fmt::print("\n{:>5}  {:8}  {:{}}  {:{}}  {:8}  {:>8}  {:>8}  {:>11}  {:>11}\n", "node", "role",
             "name", name, "address", address, "state", "clock", "reported", "pushed", "pulled");
  for (const auto& node : nodes) {
    if (!node.is_object()) continue;
    const auto id = number(node, "id");
    const auto clock_of = [&](const char* member) {
      return node.contains(member) ? std::to_string(number(node, member)) : std::string();
    };
    const auto bytes_of = [&](const char* member) {
      return node.contains(member) ? bytes(static_cast<std::uint64_t>(number(node, member)))
                                   : std::string();
    };
    fmt::print("{:>5}  {:8}  {:{}}  {:{}}  {:8}  {:>8}  {:>8}  {:>11}  {:>11}{}\n", id,
               text(node, "role"), text(node, "name"), name, text(node, "address"), address,
               text(node, "state"), clock_of("clock"), clock_of("reported"),
               bytes_of("bytes_pushed"), bytes_of("bytes_pulled"),
               id != 0 && id == straggler ? "  <- holds G back" : "");
  }
}

void draw_tables(const Json& tables) {
  const auto name = width_of(tables, "name", "name"), rule = width_of(tables, "rule", "rule");
  fmt::print("\n{:>5}  {:{}}  {:5}  {:6}  {:>14}  {:>6}  {:{}}  {:10}  {:>9}  {:>5}  {}\n", "table",
             "name", name, "dtype", "layout", "rows", "width", "rule", rule, "apply", "staleness",
             "slots", "where they are");
  for (const auto& table : tables) {
    if (!table.is_object()) continue;
    const auto rows = number(table, "rows");
    fmt::print("{:>5}  {:{}}  {:5}  {:6}  {:>14}  {:>6}  {:{}}  {:10}  {:>9}  {:>5}  {}\n",
               number(table, "id"), text(table, "name"), name, text(table, "dtype"),
               text(table, "layout"), rows == 0 ? "-" : std::to_string(rows),
               number(table, "row_width"), text(table, "rule"), rule, text(table, "apply"),
               member(table, "staleness").is_string() ? text(table, "staleness")
                                                      : std::to_string(number(table, "staleness")),
               number(table, "slots"), placement(table));
  }
}

void draw(const Json& status) {
  if (const auto trouble = text(status, "trouble"); !trouble.empty())
    fmt::print("TROUBLE: {}\n", trouble);
  const auto& epoch = member(status, "epoch");
  fmt::print("view {}.{}   G {}   window {}\n", number(epoch, "term"), number(epoch, "number"),
             number(status, "global_clock"), number(status, "window"));
  if (const auto waiting = text(status, "waiting_for"); !waiting.empty())
    fmt::print("waiting: {}\n", waiting);
  draw_nodes(member(status, "nodes"), number(status, "straggler"));
  if (!member(status, "tables").empty()) draw_tables(member(status, "tables"));
}

/// Asks once and shows the answer.
Status show_once(SchedulerClient& scheduler, const StatusOptions& options) {
  SHOAL_ASSIGN(const auto reply, scheduler.ask(FrameKind::status));
  if (options.json) {
    fmt::print("{}\n", reply.text);
  } else {
    const auto status = Json::parse(reply.text, nullptr, false);
    if (!is_status(status))
      return Error{Errc::protocol,
                   "the scheduler's answer is not a status: is it of the same release? --json "
                   "shows what it said"};
    if (options.watch) fmt::print("\033[H\033[2J");
    draw(status);
  }
  std::fflush(stdout);
  return {};
}

}  // namespace

int show_status(const Config& config, const StatusOptions& options) {
  if (!config.origins.contains("log_level")) set_log_level(LogLevel::off);  // all is said below
  const SteadyClock clock;
  auto scheduler = SchedulerClient::create(config, clock);
  if (!scheduler.ok()) return fail("status", scheduler.error());
  std::string told;  // of what is wrong now; once each
  for (bool answered = false;;) {
    const auto shown = show_once(*scheduler, options);
    // What has worked will work again: a scheduler may be restarted.
    if (!shown.ok() && !(options.watch && answered)) return fail("status", shown.error());
    if (!options.watch) return 0;
    answered = true;
    const auto wrong = shown.ok() ? std::string() : shown.error().message();
    if (!wrong.empty() && wrong != told)
      fmt::print(stderr, "shoal status: {}; trying again until it answers\n", wrong);
    told = wrong;
    const auto interval = std::chrono::duration_cast<std::chrono::microseconds>(kWatchInterval);
    ::usleep(static_cast<useconds_t>(interval.count()));
  }
}

}  // namespace shoal::cli
