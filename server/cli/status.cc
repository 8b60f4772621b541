// `shoal status`: asks the scheduler and draws its answer.

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/base/entropy.h"
#include "server/cli/commands.h"
#include "transport/loop.h"
#include "transport/open_transport.h"
#include "transport/session.h"

namespace shoal::cli {

namespace {

using Json = nlohmann::json;

constexpr Duration kWatchInterval = std::chrono::seconds(1);

/// A session to the scheduler, asked one question at a time.
class Questioner {
 public:
  static Result<Questioner> create(const Config& config, const Clock& clock) {
    if (config.scheduler.empty())
      return Error{Errc::invalid_argument,
                   "no scheduler address: --scheduler host:port, or SHOAL_SCHEDULER"};
    Session::Options options;
    SHOAL_ASSIGN(options.peer, Address::parse(config.scheduler));
    options.hello.role = Role::observer;
    options.hello.incarnation = Incarnation(entropy());
    options.requests_max = 4;
    SHOAL_ASSIGN(auto transport, open_transport(config, clock));
    return Questioner(config, clock, std::move(transport), std::move(options));
  }

  Result<std::string> ask() {
    FrameHeader header;
    header.kind = FrameKind::status;
    SHOAL_ASSIGN(const auto id, session_->request(header, {}, {}, 0));
    const auto until = deadline_after(clock_.now(), config_.connect_timeout);
    std::vector<Event> events(16);
    for (auto now = clock_.now(); now < until; now = clock_.now()) {
      session_->poll(now);
      const auto count = transport_->poll(events);
      for (std::size_t i = 0; i < count; ++i) {
        Incoming incoming;
        if (!session_->handle(events[i], now, incoming)) continue;
        if (incoming.kind == Incoming::Kind::refused)
          return Error{Errc::refused,
                       fmt::format("{}: no scheduler listens there", config_.scheduler)};
        if (incoming.status == Errc::untrusted) return wrong_token(peer_, token_source(config_));
        if (incoming.kind != Incoming::Kind::answer || incoming.id != id) continue;
        const auto& payload = incoming.frame.payload;
        std::string text(reinterpret_cast<const char*>(payload.data()), payload.size());
        if (incoming.status != Errc::ok) return Error{incoming.status, std::move(text)};
        return text;
      }
      if (count == 0)
        wait(now, std::min({until, session_->next_timer(), transport_->next_timer()}));
    }
    return Error{Errc::timed_out,
                 fmt::format("the scheduler does not answer: {}", session_->explain())};
  }

 private:
  Questioner(const Config& config, const Clock& clock, std::unique_ptr<Transport> transport,
             Session::Options options)
      : config_(config),
        clock_(clock),
        peer_(options.peer),
        transport_(std::move(transport)),
        session_(std::make_unique<Session>(*transport_, std::move(options))) {}

  void wait(TimePoint now, TimePoint until) {
    struct Idle final : Pollable {
      explicit Idle(Transport& t) : own(t) {}
      bool poll(TimePoint) override { return false; }
      TimePoint next_timer() const override { return kNever; }
      Transport& transport() override { return own; }
      Transport& own;
    } idle(*transport_);
    wait_for_work(idle, nullptr, now, until);
  }

  const Config& config_;
  const Clock& clock_;
  Address peer_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Session> session_;  // goes before its transport
};

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

}  // namespace

int show_status(const Config& config, const StatusOptions& options) {
  const SteadyClock clock;
  auto questioner = Questioner::create(config, clock);
  if (!questioner.ok()) return fail("status", questioner.error());
  for (;;) {
    const auto text = questioner->ask();
    if (!text.ok()) return fail("status", text.error());
    if (options.json) {
      fmt::print("{}\n", *text);
    } else {
      const auto status = Json::parse(*text, nullptr, false);
      if (!is_status(status))
        return fail("status", {Errc::protocol,
                               "the scheduler's answer is not a status: is it of the same "
                               "release? --json shows what it said"});
      if (options.watch) fmt::print("\033[H\033[2J");
      draw(status);
    }
    std::fflush(stdout);
    if (!options.watch) return 0;
    const auto interval = std::chrono::duration_cast<std::chrono::microseconds>(kWatchInterval);
    ::usleep(static_cast<useconds_t>(interval.count()));
  }
}

}  // namespace shoal::cli
