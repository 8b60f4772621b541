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

/// "1: 8, 2: 7, lost: 1": the slots that each server answers for.
std::string placement(const Json& table) {
  std::string line;
  for (const auto& some : member(table, "placement"))
    line += fmt::format("{}{}: {}", line.empty() ? "" : ", ", number(some, "server"),
                        number(some, "slots"));
  if (const auto lost = number(table, "slots_lost"); lost != 0)
    line += fmt::format("{}lost: {}", line.empty() ? "" : ", ", lost);
  return line;
}

bool is_status(const Json& status) {
  return status.is_object() && member(status, "epoch").is_object() &&
         member(status, "nodes").is_array() && member(status, "tables").is_array();
}

void draw(const Json& status) {
  if (const auto trouble = text(status, "trouble"); !trouble.empty())
    fmt::print("TROUBLE: {}\n", trouble);
  const auto& epoch = member(status, "epoch");
  fmt::print("view {}.{}   G {}   window {}\n", number(epoch, "term"), number(epoch, "number"),
             number(status, "global_clock"), number(status, "window"));
  if (const auto waiting = text(status, "waiting_for"); !waiting.empty())
    fmt::print("waiting: {}\n", waiting);
  fmt::print("\n{:>5}  {:8}  {:16}  {:22}  {:8}  {:>8}  {:>8}  {:>11}  {:>11}\n", "node", "role",
             "name", "address", "state", "clock", "reported", "pushed", "pulled");
  const auto straggler = number(status, "straggler");
  for (const auto& node : member(status, "nodes")) {
    if (!node.is_object()) continue;
    const auto id = number(node, "id");
    const auto clock_of = [&](const char* name) {
      return node.contains(name) ? std::to_string(number(node, name)) : std::string();
    };
    const auto bytes_of = [&](const char* name) {
      return node.contains(name) ? bytes(static_cast<std::uint64_t>(number(node, name)))
                                 : std::string();
    };
    fmt::print("{:>5}  {:8}  {:16}  {:22}  {:8}  {:>8}  {:>8}  {:>11}  {:>11}{}\n", id,
               text(node, "role"), text(node, "name"), text(node, "address"), text(node, "state"),
               clock_of("clock"), clock_of("reported"), bytes_of("bytes_pushed"),
               bytes_of("bytes_pulled"), id != 0 && id == straggler ? "  <- holds G back" : "");
  }
  if (member(status, "tables").empty()) return;
  fmt::print("\n{:>5}  {:20}  {:5}  {:6}  {:>14}  {:>6}  {:12}  {:10}  {:>9}  {:>5}  {}\n", "table",
             "name", "dtype", "layout", "rows", "width", "rule", "apply", "staleness", "slots",
             "of server: slots");
  for (const auto& table : member(status, "tables")) {
    if (!table.is_object()) continue;
    const auto rows = number(table, "rows");
    fmt::print("{:>5}  {:20}  {:5}  {:6}  {:>14}  {:>6}  {:12}  {:10}  {:>9}  {:>5}  {}\n",
               number(table, "id"), text(table, "name"), text(table, "dtype"),
               text(table, "layout"), rows == 0 ? "-" : std::to_string(rows),
               number(table, "row_width"), text(table, "rule"), text(table, "apply"),
               member(table, "staleness").is_string() ? text(table, "staleness")
                                                      : std::to_string(number(table, "staleness")),
               number(table, "slots"), placement(table));
  }
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
