#include "core/base/config.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

#define TOML_EXCEPTIONS 0
#include <toml++/impl/preprocessor.h>
// toml++ 3.3 asserts that a key begins as keys do, or lets the compiler assume it, and then looks
// whether it does: "[:" would end the process, or worse. Without that it is an error like others.
#undef TOML_ASSERT_ASSUME
#define TOML_ASSERT_ASSUME(expression) static_assert(true)
#include <toml++/toml.h>

#include "core/base/nearest.h"

extern char** environ;

namespace shoal {

namespace {

constexpr std::string_view kEnvironmentPrefix = "SHOAL_";
/// Environment variables that are no options: where to find the file.
constexpr std::string_view kConfigVariable = "SHOAL_CONFIG";

template <class T>
Result<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty())
    return Error{Errc::invalid_argument, "expected a whole number"};
  return value;
}

Status parse_into(std::string& field, std::string_view text) {
  field = text;
  return {};
}
Status parse_into(std::uint32_t& field, std::string_view text) {
  SHOAL_ASSIGN(field, parse_number<std::uint32_t>(text));
  return {};
}
Status parse_into(std::int64_t& field, std::string_view text) {
  SHOAL_ASSIGN(field, parse_number<std::int64_t>(text));
  return {};
}
Status parse_into(std::size_t& field, std::string_view text) {
  SHOAL_ASSIGN(field, parse_bytes(text));
  return {};
}
Status parse_into(Duration& field, std::string_view text) {
  SHOAL_ASSIGN(field, parse_duration(text));
  return {};
}
Status parse_into(Config::Require& field, std::string_view text) {
  if (text != "nothing" && text != "rdma")
    return Error{Errc::invalid_argument, "expected 'nothing' or 'rdma'"};
  field = text == "rdma" ? Config::Require::rdma : Config::Require::nothing;
  return {};
}
Status parse_into(Config::Progress& field, std::string_view text) {
  if (text != "thread" && text != "caller")
    return Error{Errc::invalid_argument, "expected thread or caller"};
  field = text == "thread" ? Config::Progress::thread : Config::Progress::caller;
  return {};
}
Status parse_into(DeviceName& field, std::string_view text) {
  SHOAL_ASSIGN(field, DeviceName::parse(text));
  return {};
}
Status parse_into(NameFilter& field, std::string_view text) {
  SHOAL_ASSIGN(field, NameFilter::parse(field.kind(), text));
  return {};
}

std::string shown(const std::string& field) { return field; }
std::string shown(const DeviceName& field) { return field.to_string(); }
std::string shown(const NameFilter& field) { return field.text(); }
std::string shown(std::uint32_t field) { return std::to_string(field); }
std::string shown(std::int64_t field) { return std::to_string(field); }
std::string shown(std::size_t field) { return bytes_to_string(field); }
std::string shown(Duration field) { return to_string(field); }
std::string shown(Config::Require field) {
  return field == Config::Require::rdma ? "rdma" : "nothing";
}
std::string shown(Config::Progress field) {
  return field == Config::Progress::thread ? "thread" : "caller";
}

/// The least and the most that a number may be, written as its value is.
struct Bounds {
  std::string_view least, most;
};

struct Option {
  std::string_view name;
  std::string_view takes;  // what its value is, in a word
  std::string_view meaning;
  Bounds bounds;
  Status (*set)(Config&, const Bounds&, std::string_view);
  std::string (*get)(const Config&);
};

template <class T>
Status parse_within(T& field, const Bounds& bounds, std::string_view text) {
  if (auto parsed = parse_into(field, text); !parsed.ok()) {
    if (bounds.least.empty()) return parsed;
    return Error{Errc::invalid_argument,
                 fmt::format("{} ({} to {})", parsed.error().what, bounds.least, bounds.most)};
  }
  if constexpr (std::is_class_v<T> && !std::is_same_v<T, Duration>) {
    return {};  // a text
  } else {
    if (bounds.least.empty()) return {};
    T least{}, most{};
    SHOAL_TRY(parse_into(least, bounds.least));
    SHOAL_TRY(parse_into(most, bounds.most));
    if (least <= field && field <= most) return {};
    return Error{Errc::invalid_argument,
                 fmt::format("expected {} to {}", bounds.least, bounds.most)};
  }
}

/// The check of an option that may be any text.
Status accept(std::string_view) { return {}; }

Status accept_transports(std::string_view text) {
  SHOAL_ASSIGN([[maybe_unused]] const auto names, parse_transports(text));
  return {};
}

/// `check` is asked of the text before it becomes the value.
template <auto Field, Status (*Check)(std::string_view) = accept>
constexpr Option option(std::string_view name, std::string_view takes, std::string_view meaning,
                        Bounds bounds = {}) {
  return {name,
          takes,
          meaning,
          bounds,
          [](Config& config, const Bounds& within, std::string_view text) -> Status {
            SHOAL_TRY(Check(text));
            return parse_within(config.*Field, within, text);
          },
          [](const Config& config) { return shown(config.*Field); }};
}

constexpr Bounds kTime{"1ms", "720h"};

constexpr Option kOptions[] = {
    option<&Config::scheduler>("scheduler", "HOST:PORT", "host:port of the cluster's scheduler"),
    option<&Config::token_file>("token_file", "FILE",
                                "file with the cluster's token; must not be world-readable"),
    option<&Config::listen>("listen", "HOST:PORT",
                            "host:port to listen on; port 0 takes a free one"),
    option<&Config::name>("name", "TEXT", "what messages and 'shoal status' call this process"),
    option<&Config::state_dir>("state_dir", "DIR",
                               "scheduler: directory of its views, for restarts; empty: none kept"),
    option<&Config::servers>("servers", "N", "servers that the cluster waits for at its start",
                             {"0", "8192"}),
    option<&Config::workers>("workers", "N", "workers that the first roster waits for",
                             {"0", "8192"}),
    option<&Config::transports, accept_transports>(
        "transports", "LIST",
        "ways for data to go, best first: verbs (RDMA), ucx (shared "
        "memory of one host, and what UCX has; needs libucp), tcp, which "
        "makes the connections in any case"),
    option<&Config::require>("require", "WHAT",
                             "nothing; or rdma: data that cannot go over it is an error"),
    option<&Config::devices>("devices", "LIST",
                             "RDMA devices to use, as NAME or NAME:PORT: beginnings of names, = "
                             "exact ones, ^ none of these; empty: all; see docs/tuning.md"),
    option<&Config::interfaces>("interfaces", "LIST",
                                "network interfaces whose addresses RoCE devices use; as devices"),
    option<&Config::rails>("rails", "N",
                           "RDMA ports, equally fast, that one connection uses at most: large "
                           "transfers are split over them",
                           {"1", "4"}),
    option<&Config::bulk_turn_bytes>(
        "bulk_turn_bytes", "SIZE",
        "moved by one connection before small operations get their turn; see docs/tuning.md",
        {"4KiB", "16MiB"}),
    option<&Config::join_timeout>("join_timeout", "TIME",
                                  "how long to wait for the cluster to be complete", kTime),
    option<&Config::operation_timeout>("operation_timeout", "TIME",
                                       "deadline of pushes, pulls and calls that give none",
                                       {"1us", "720h"}),
    option<&Config::cancel_grace>("cancel_grace", "TIME",
                                  "how long a loan may outlive a deadline before it ends by force",
                                  kTime),
    option<&Config::connect_timeout>(
        "connect_timeout", "TIME",
        "deadline of one try to connect; how long shoal status and drop wait for an answer", kTime),
    option<&Config::server_beat>("server_beat", "TIME", "interval of a server's heartbeats", kTime),
    option<&Config::server_lease>("server_lease", "TIME", "silence after which a server is suspect",
                                  kTime),
    option<&Config::worker_beat>("worker_beat", "TIME", "interval of a worker's heartbeats", kTime),
    option<&Config::worker_lease>("worker_lease", "TIME",
                                  "silence after which a worker is dropped from the roster", kTime),
    option<&Config::lost_after>("lost_after", "TIME",
                                "silence after which a server's slots are lost", kTime),
    option<&Config::straggler_limit>(
        "straggler_limit", "N",
        "clocks behind the fastest after which a worker is removed; 0: never",
        {"0", "9223372036854775807"}),
    option<&Config::progress>("progress", "thread|caller",
                              "who moves a worker's bytes: a thread, or the caller in wait()"),
    option<&Config::spin>("spin", "TIME", "how long to poll before sleeping, where cores are idle",
                          {"0s", "1s"}),
    option<&Config::operations_max>("operations_max", "N",
                                    "unfinished operations and live tickets of a worker",
                                    {"1", "1048576"}),
    option<&Config::eager_bytes_max>("eager_bytes_max", "SIZE",
                                     "pushes and pulls up to this travel inside the message",
                                     {"0", "64KiB"}),
    option<&Config::worker_list_bytes>(
        "worker_list_bytes", "SIZE",
        "a worker's memory for key lists that repeat; 0: every list travels whole, every time",
        {"0", "1024GiB"}),
    option<&Config::registration_cache_bytes>(
        "registration_cache_bytes", "SIZE",
        "a worker's memory that stays registered with RDMA devices once lent twice; 0: none",
        {"0", "1024GiB"}),
    option<&Config::device>("device", "NAME",
                            "where a server has its tables: cpu, or a GPU as in cuda:0; see "
                            "docs/cuda.md"),
    option<&Config::credits>("credits", "N", "unanswered requests of one worker at a server",
                             {"2", "4096"}),
    option<&Config::parked_quota>("parked_quota", "N", "parked requests of one worker at a server",
                                  {"0", "65536"}),
    option<&Config::memory_budget>(
        "memory_budget", "SIZE",
        "bytes a server may use for tables: rows, states, sums, indices, copies on write",
        {"1MiB", "1048576GiB"}),
    option<&Config::landing_bytes>("landing_bytes", "SIZE",
                                   "a server's buffers for arriving pushes", {"6MiB", "1024GiB"}),
    option<&Config::copy_bytes>("copy_bytes", "SIZE", "a server's buffers for copies on write",
                                {"1MiB", "1024GiB"}),
    option<&Config::server_list_bytes>("server_list_bytes", "SIZE",
                                       "a server's memory for the rows of key lists that repeat",
                                       {"0", "1024GiB"}),
    option<&Config::plugins>("plugins", "FILES",
                             "shared objects with update rules, separated by commas"),
    option<&Config::trace>("trace", "FILE",
                           "write what operations live through to FILE.NAME.PID.json, a file for "
                           "each worker and server, for ui.perfetto.dev; see docs/tuning.md"),
    option<&Config::log_level>("log_level", "LEVEL", "trace, debug, info, warn, error or off"),
};

const Option* find_option(std::string_view name) {
  for (const auto& option : kOptions)
    if (option.name == name) return &option;
  return nullptr;
}

/// What came from outside as a message can show it: one line, of a length that one reads.
std::string printable(std::string_view text) {
  constexpr std::size_t kShownMax = 128;
  std::string shown(text.substr(0, kShownMax));
  for (auto& c : shown)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  return text.size() > kShownMax ? shown + "..." : shown;
}

/// The option's default as it stands in a file.
std::string example(std::string_view name) {
  const auto* option = find_option(name);
  const auto value = option->get(Config{});
  return option->takes == "N" ? value : fmt::format("\"{}\"", value);
}

Error unknown(std::string_view name, std::string_view where) {
  std::vector<std::string_view> names;
  for (const auto& option : kOptions) names.push_back(option.name);
  return {Errc::unknown_name, fmt::format("{}: there is no option '{}'{}", where, printable(name),
                                          suggest_name(name, names))};
}

Status set_option(Config& config, std::string_view name, std::string_view text,
                  const std::string& where, const std::string& origin) {
  const auto* option = find_option(name);
  if (option == nullptr) return unknown(name, where);
  const auto wrong = [&](std::string_view why) {
    return Error{Errc::invalid_argument,
                 fmt::format("{}: {} = '{}': {}", where, name, printable(text), why)};
  };
  // They would end a path early, or a line of the log.
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }))
    return wrong("expected no control characters");
  if (const auto set = option->set(config, option->bounds, text); !set.ok())
    return wrong(set.error().what);
  config.origins[std::string(name)] = origin;
  return {};
}

/// A configuration is a page of text: more is another file.
constexpr std::size_t kFileBytesMax = 1u << 20;

Result<std::string> read_file(const std::string& path) {
  const auto failed = [&](int error) {
    return Error{Errc::io, fmt::format("cannot read the configuration file {}", path), error};
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed(errno);
  std::string text(kFileBytesMax + 1, '\0');
  std::size_t size = 0;
  ssize_t got = 0;
  // A pipe is a file too: --config-file <(...).
  while (size < text.size() && (got = ::read(fd, text.data() + size, text.size() - size)) > 0)
    size += static_cast<std::size_t>(got);
  const int error = errno;
  ::close(fd);
  if (got < 0) return failed(error);
  if (size > kFileBytesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("the configuration file {} has more than {}: is it another file?",
                             path, bytes_to_string(kFileBytesMax))};
  text.resize(size);
  return text;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c == '\t' || c == '\r' || (c >= ' ' && c < 0x7f);
  });
}

/// Where the string that begins `text` ends: behind its closing quote, or at the end of the line.
std::size_t string_end(std::string_view text) {
  const char quote = text[0];
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\' && quote == '"')
      ++i;
    else if (text[i] == quote)
      return i + 1;
  }
  return text.size();
}

/// A line as options need it: NAME = VALUE, the value on that line, and characters beyond ASCII
/// only in its quotes or behind a '#'. Elsewhere toml++ 3.3 promises the compiler that most of them
/// cannot be. Returns what was expected; empty: it is one.
std::string_view expected_of_line(std::string_view line) {
  constexpr std::string_view kForm =
      "expected NAME = VALUE, in ASCII but for quoted text on one line and behind '#'";
  const auto name = line.substr(0, line.find_first_of("=#"));
  if (!is_ascii(name) || name.find_first_of("\"'") != name.npos) return kForm;
  if (name.size() == line.size() || line[name.size()] == '#') return {};
  auto value = line.substr(name.size() + 1);
  value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
  if (value.starts_with("\"\"\"") || value.starts_with("'''")) return kForm;
  if (value.starts_with('[') || value.starts_with('{'))
    return "expected a string or a whole number behind the '='";
  if (value.starts_with('"') || value.starts_with('\'')) value.remove_prefix(string_end(value));
  return is_ascii(value.substr(0, value.find('#'))) ? std::string_view() : kForm;
}

Status check_lines(std::string_view text, const std::string& path) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    if (const auto expected = expected_of_line(text.substr(0, end)); !expected.empty())
      return Error{Errc::invalid_argument, fmt::format("{}:{}: {}", path, number, expected)};
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

Status apply_toml(Config& config, std::string_view toml, const std::string& path) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (toml.starts_with(kByteOrderMark)) toml.remove_prefix(kByteOrderMark.size());
  SHOAL_TRY(check_lines(toml, path));
  const auto parsed = toml::parse(toml, path);
  if (!parsed)
    return Error{Errc::invalid_argument,
                 fmt::format("{}:{}: {}", path, parsed.error().source().begin.line,
                             printable(parsed.error().description()))};
  for (const auto& [key, node] : parsed.table()) {
    const auto where = fmt::format("{}:{}", path, key.source().begin.line);
    if (find_option(key.str()) == nullptr) return unknown(key.str(), where);
    std::string text;
    if (const auto* string = node.as_string()) {
      text = string->get();
    } else if (const auto* number = node.as_integer()) {
      text = std::to_string(number->get());
    } else {
      return Error{Errc::invalid_argument,
                   fmt::format("{}: {}: expected a string or a whole number, as in {} = {}", where,
                               key.str(), key.str(), example(key.str()))};
    }
    SHOAL_TRY(set_option(config, key.str(), text, where, where));
  }
  return {};
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) {
    return c == '-' ? '_' : static_cast<char>(std::tolower(c));
  });
  return out;
}

/// A lease that a late beat or two can end would cut off healthy processes.
Status check_leases(const Config& config) {
  const auto check = [](std::string_view lease, Duration length, std::string_view beat,
                        Duration interval) -> Status {
    if (length >= 2 * interval) return {};
    return Error{Errc::invalid_argument,
                 fmt::format("{} = {}: expected at least twice {}, which is {}", lease,
                             to_string(length), beat, to_string(interval))};
  };
  SHOAL_TRY(check("server_lease", config.server_lease, "server_beat", config.server_beat));
  return check("worker_lease", config.worker_lease, "worker_beat", config.worker_beat);
}

}  // namespace

Result<Config> Config::from_env() {
  const auto variables = environment();
  std::string file;
  for (const auto& [name, value] : variables)
    if (name == kConfigVariable) file = value;
  return load(file, variables, {});
}

Config::Settings Config::environment() {
  Settings settings;
  for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
    const std::string_view entry = *at;
    const auto equals = entry.find('=');
    if (equals != std::string_view::npos)
      settings.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return settings;
}

Result<Config> Config::load(const std::string& file, const Settings& environment,
                            const Settings& overrides) {
  if (file.empty()) return parse({}, {}, environment, overrides);
  SHOAL_ASSIGN(const auto text, read_file(file));
  return parse(text, file, environment, overrides);
}

Result<Config> Config::parse(std::string_view toml, const std::string& path,
                             const Settings& environment, const Settings& overrides) {
  Config config;
  SHOAL_TRY(apply_toml(config, toml, path));
  for (const auto& [name, value] : environment) {
    if (!name.starts_with(kEnvironmentPrefix) || name == kConfigVariable) continue;
    const auto option = lower(std::string_view(name).substr(kEnvironmentPrefix.size()));
    SHOAL_TRY(set_option(config, option, value,
                         fmt::format("environment variable {}", printable(name)), "environment"));
  }
  for (const auto& [name, value] : overrides)
    SHOAL_TRY(set_option(config, lower(name), value,
                         fmt::format("command line, --{}", printable(name)), "command line"));
  SHOAL_TRY(check_leases(config));
  SHOAL_TRY(check_transports(config));
  return config;
}

std::vector<Config::Shown> Config::show() const {
  std::vector<Shown> all;
  for (const auto& option : kOptions) {
    const auto origin = origins.find(option.name);
    all.push_back({std::string(option.name), option.get(*this),
                   origin == origins.end() ? "default" : origin->second,
                   std::string(option.meaning), std::string(option.takes),
                   option.bounds.least.empty()
                       ? std::string()
                       : fmt::format("{} to {}", option.bounds.least, option.bounds.most)});
  }
  return all;
}

Result<std::vector<std::string>> parse_transports(std::string_view list) {
  constexpr std::string_view kExpected = "expected a list of verbs, ucx, tcp";
  std::vector<std::string> names;
  for (auto rest = list; !rest.empty();) {
    const auto comma = std::min(rest.find(','), rest.size());
    const std::string name(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (name != "verbs" && name != "ucx" && name != "tcp")
      return Error{Errc::invalid_argument,
                   fmt::format("'{}' is none: {}", printable(name), kExpected)};
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  if (names.empty()) return Error{Errc::invalid_argument, std::string(kExpected)};
  return names;
}

Status check_transports(const Config& config) {
  const auto names = parse_transports(config.transports);
  if (!names.ok())
    return Error{
        Errc::invalid_argument,
        fmt::format("transports = '{}': {}", printable(config.transports), names.error().what)};
  if (config.require != Config::Require::rdma) return {};
  const auto verbs = std::find(names->begin(), names->end(), "verbs");
  // What stands behind TCP is not tried.
  const bool behind = std::find(names->begin(), verbs, "tcp") != verbs;
  if (verbs != names->end() && !behind) return {};
  return Error{Errc::invalid_argument,
               fmt::format("require = 'rdma' needs verbs {} transports, which are '{}'",
                           verbs == names->end() ? "among" : "before tcp in", config.transports)};
}

Result<Duration> parse_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    std::int64_t ns;
  };
  constexpr Unit kUnits[] = {{"ns", 1},
                             {"us", 1'000},
                             {"ms", 1'000'000},
                             {"s", 1'000'000'000},
                             {"min", 60'000'000'000},
                             {"h", 3'600'000'000'000}};
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error == std::errc{} && count >= 0)
    for (const auto& known : kUnits)
      if (unit == known.name && count <= std::numeric_limits<std::int64_t>::max() / known.ns)
        return Duration(count * known.ns);
  return Error{Errc::invalid_argument, "expected a duration with a unit, as in 250ms, 2s or 5min"};
}

std::string to_string(Duration duration) {
  const auto ns = duration.count();
  if (ns % 1'000'000'000 == 0) return fmt::format("{}s", ns / 1'000'000'000);
  if (ns % 1'000'000 == 0) return fmt::format("{}ms", ns / 1'000'000);
  if (ns % 1'000 == 0) return fmt::format("{}us", ns / 1'000);
  return fmt::format("{}ns", ns);
}

Result<std::size_t> parse_bytes(std::string_view text) {
  constexpr std::pair<std::string_view, std::size_t> kUnits[] = {
      {"", 1}, {"B", 1}, {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}};
  std::size_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error == std::errc{})
    for (const auto& [name, bytes] : kUnits)
      if (unit == name && count <= std::numeric_limits<std::size_t>::max() / bytes)
        return count * bytes;
  return Error{Errc::invalid_argument, "expected a size in bytes, as in 65536, 256KiB or 1GiB"};
}

std::string bytes_to_string(std::size_t bytes) {
  if (bytes != 0 && bytes % (1u << 30) == 0) return fmt::format("{}GiB", bytes >> 30);
  if (bytes != 0 && bytes % (1u << 20) == 0) return fmt::format("{}MiB", bytes >> 20);
  if (bytes != 0 && bytes % (1u << 10) == 0) return fmt::format("{}KiB", bytes >> 10);
  return std::to_string(bytes);
}

}  // namespace shoal
