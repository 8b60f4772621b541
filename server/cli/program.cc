#include "server/program.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <system_error>

#include "core/base/log.h"
#include "core/base/nearest.h"
#include "core/base/version.h"
#include "core/ops/plugin.h"
#include "core/trace/trace.h"
#include "server/cli/commands.h"
#include "server/cli/options.h"
#include "server/cli/run.h"

namespace shoal {

namespace cli {
namespace {

constexpr int kWrongCommandLine = 2;

/// What stands on the command line.
struct Arguments {
  Configured configured;
  std::vector<std::string> program;  // after "--"
  std::string announce;
  std::string grace = "10s";
  bool keep_going = false;
  bool show_config = false;
  StatusOptions status;
  DropOptions drop;
  PerfArguments perf;
};

/// A subcommand and what it does.
struct Command {
  CLI::App* app;
  std::function<int(const Config&, const RuleSet&)> body;
};

/// Adds the options of the configuration that the subcommand uses. What is unknown is left over,
/// for useless_word().
void add_configuration(CLI::App& command, Configured& configured) {
  command.allow_extras();
  command
      .add_option("--config-file", configured.file,
                  "TOML file with options of any subcommand; also SHOAL_CONFIG")
      ->type_name("FILE");
  // `info` takes every option, to show what it would be; it has a page for them.
  const std::string group(command.get_name() == "info" ? "" : configuration_title());
  for (const auto& option : Config{}.show()) {
    if (!uses_option(command.get_name(), option.name)) continue;
    if (option.name == "plugins") {
      command
          .add_option_function<std::vector<std::string>>(
              "--plugin,--plugins",
              [&configured](const std::vector<std::string>& files) {
                configured.settings.emplace_back("plugins",
                                                 fmt::format("{}", fmt::join(files, ",")));
              },
              "Shared object with update rules; may be repeated")
          ->allow_extra_args(false)
          ->type_name("FILE")
          ->group(group);
      continue;
    }
    auto name = option.name;
    std::replace(name.begin(), name.end(), '_', '-');
    command
        .add_option_function<std::string>(
            "--" + name,
            [&configured, name](const std::string& text) {
              configured.settings.emplace_back(name, text);
            },
            option.meaning)
        ->type_name(kind_of_value(command.get_name(), option))
        ->group(group);
  }
}

CommandOptions options_of(const CLI::App& command) {
  CommandOptions options{command.get_name(), {}};
  for (const auto* option : command.get_options())
    for (const auto& name : option->get_lnames()) options.names.push_back("--" + name);
  return options;
}

Status reject_extras(const CLI::App& chosen, const std::vector<Command>& commands) {
  const auto extras = chosen.remaining();
  if (extras.empty()) return {};
  std::vector<CommandOptions> all;
  for (const auto& command : commands) all.push_back(options_of(*command.app));
  return useless_word(extras.front(), options_of(chosen), all);
}

Status load_plugins(const std::string& list, RuleSet& rules) {
  for (std::size_t begin = 0; begin < list.size();) {
    const auto end = std::min(list.find(',', begin), list.size());
    if (end > begin) SHOAL_TRY(load_plugin(list.substr(begin, end - begin), rules));
    begin = end + 1;
  }
  return {};
}

Result<std::string> own_path() {
  std::string path(PATH_MAX, '\0');
  const auto length = ::readlink("/proc/self/exe", path.data(), path.size());
  if (length < 0) return Error{Errc::io, "cannot find this program's file (/proc/self/exe)", errno};
  path.resize(static_cast<std::size_t>(length));
  return path;
}

constexpr Duration kGraceMin = std::chrono::milliseconds(100);

Status fits_here(const Config& config) {
  if (config.workers == 0 || config.servers == 0)
    return Error{Errc::invalid_argument,
                 "a cluster has a server and a worker at least (--servers, --workers)"};
  if (std::uint64_t{config.servers} + config.workers > kLocalProcessesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("{} servers and {} workers are more than the {} processes that 'shoal "
                             "run' starts on one machine (--servers, --workers)",
                             config.servers, config.workers, kLocalProcessesMax)};
  return {};
}

int run(const Arguments& arguments, const Config& config) {
  if (arguments.program.empty()) {
    fmt::print(stderr,
               "shoal run: what to run? Its command comes after '--', as in: shoal run --workers 2 "
               "-- ./train --epochs 10\n");
    return kWrongCommandLine;
  }
  const auto grace = parse_duration(arguments.grace);
  const auto self = own_path();
  auto fits = fits_here(config);
  if (fits.ok() && !config.trace.empty()) fits = Trace::check(config.trace);
  if (!grace.ok() || *grace < kGraceMin || !self.ok() || !fits.ok()) {
    fail("run", !grace.ok() ? Error{Errc::invalid_argument, "--grace: " + grace.error().what}
                : *grace < kGraceMin ? Error{Errc::invalid_argument,
                                             "--grace: expected at least 100ms, which the "
                                             "scheduler and the servers need to end"}
                : !self.ok()         ? self.error()
                                     : fits.error());
    return kWrongCommandLine;
  }
  RunOptions options;
  options.servers = config.servers;
  options.workers = config.workers;
  options.command = arguments.program;
  options.scheduler = {*self, "scheduler"};
  options.server = {*self, "server"};
  options.keep_going = arguments.keep_going;
  options.settings = arguments.configured.settings;
  if (!arguments.configured.file.empty())
    options.settings.emplace_back("config",
                                  std::filesystem::absolute(arguments.configured.file).string());
  options.start_timeout = config.join_timeout;
  options.supervisor.grace = *grace;
  return run_local_cluster(options, SteadyClock());
}

void add_perf_options(CLI::App& app, PerfArguments& perf) {
  app.add_option("peer", perf.peer, "Where 'shoal perf --listen' runs")->type_name("HOST:PORT");
  app.add_flag("--local", perf.local, "Start the other process here");
  app.add_option("--op", perf.ops,
                 "What to measure, one or several: send, read, write (the transport itself); push, "
                 "pull, push_pull, onesided (a worker, with scheduler and server in the other "
                 "process; onesided: pulls that READ the server's memory, over RDMA)")
      ->delimiter(',')
      ->type_name("[pull]");
  app.add_option(
         "--transport", perf.transport,
         "Measure over this one, or fail and say why: verbs, ucx, tcp. The other side offers all "
         "it has")
      ->type_name("NAME");
  app.add_option("--size", perf.sizes, "Bytes of an operation, one or several: 8,64KiB,4MiB")
      ->delimiter(',')
      ->type_name("[8, 64, ... 64MiB]");
  app.add_flag("--all", perf.all_sizes, "Every power of two from 8 B to 64 MiB");
  app.add_option("--inflight", perf.inflight,
                 "Operations under way while bandwidth is measured; 0: 64 small ones, 8 MiB of "
                 "large ones")
      ->type_name("[0]");
  app.add_option("--duration", perf.duration, "Of each measurement; there are two for a size")
      ->type_name("[500ms]");
  app.add_option("--iterations", perf.iterations,
                 "So many operations, instead of a duration; 0: by duration")
      ->type_name("[0]");
  app.add_option("--wait", perf.wait, "What both sides do while they wait: spin or block")
      ->type_name("[spin]");
  app.add_flag("--bidirectional", perf.bidirectional,
               "The same bytes the other way, too: echoes, READs by both; push and pull at once");
  app.add_flag("--check", perf.check, "Compare every byte that arrived with what was sent");
  app.add_flag("--json", perf.json, "Print the figures for programs");
  app.add_option("--plot", perf.plot, "Draw latency and bandwidth over size (needs gnuplot)")
      ->type_name("FILE.png");
  app.footer(
      "On two machines, with the same token file:\n"
      "  shoal perf --listen 10.0.0.1:7100 --token-file T\n"
      "  shoal perf 10.0.0.1:7100 --token-file T --op send,push,pull --plot perf.png\n"
      "On one: shoal perf --local --size 8,1MiB\n\n"
      "t_... is one operation at a time: of send and write half of there and back, as ib_send_lat\n"
      "and ib_write_lat have it; of all others from the call to its end. Bandwidth is in 2^20 "
      "bytes\n"
      "and both ways together; CPU is of both processes. The caller drives the worker unless\n"
      "--progress thread is given.");
}

std::vector<Command> add_commands(CLI::App& app, Arguments& arguments) {
  std::vector<Command> commands;
  const auto add = [&](const char* name, const char* what, auto body) {
    auto* command = app.add_subcommand(name, what);
    add_configuration(*command, arguments.configured);
    commands.push_back({command, std::move(body)});
    return command;
  };
  auto* run_command = add(
      "run", "Run a program in a local cluster: shoal run --servers 2 --workers 4 -- ./train ...",
      [&](const Config& config, const RuleSet&) { return run(arguments, config); });
  run_command->add_flag("--keep-going", arguments.keep_going,
                        "A process that fails does not end the others");
  run_command
      ->add_option("--grace", arguments.grace, "Between asking processes to end and killing them")
      ->type_name("[10s]");
  run_command->footer(
      "After '--' comes the command of each worker, which gets an empty standard input. Processes "
      "find\n"
      "the cluster in their environment. It listens on the loopback interface only, has a random "
      "token and\n"
      "keeps nothing: SHOAL_TOKEN_FILE and SHOAL_STATE_DIR are not heeded. The command that "
      "watches "
      "it\n"
      "(shoal status --watch ...) is printed at its start. Exits with the code of the first "
      "process "
      "that failed.");
  auto* scheduler = add("scheduler", "Run the cluster's scheduler, until a signal",
                        [&](const Config& config, const RuleSet&) {
                          return run_scheduler(config, arguments.announce);
                        });
  scheduler->add_option("--announce", arguments.announce, "File to write the address to")
      ->type_name("FILE");
  add("server", "Run a server, until a signal",
      [](const Config& config, const RuleSet& rules) { return run_server(config, rules); });
  auto* status = add(
      "status", "Show nodes, tables, slots, clocks, the straggler, traffic",
      [&](const Config& config, const RuleSet&) { return show_status(config, arguments.status); });
  status->add_flag("--watch", arguments.status.watch, "Keep it on the screen");
  status->add_flag("--json", arguments.status.json, "The scheduler's own words");
  auto* drop = add(
      "drop", "Drop tables and their rows: they outlive the jobs that made them",
      [&](const Config& config, const RuleSet&) { return drop_tables(config, arguments.drop); });
  drop->add_option("tables", arguments.drop.tables, "Names, as 'shoal status' shows them")
      ->required()
      ->type_name("TABLE");
  drop->add_flag("--force", arguments.drop.force, "Also while workers are in the cluster");
  auto* perf =
      add("perf", "Measure latency and bandwidth of the network and of Shoal on it",
          [&](const Config& config, const RuleSet&) { return run_perf(config, arguments.perf); });
  add_perf_options(*perf, arguments.perf);
  auto* info =
      add("info", "Show version, transports, devices and update rules, or the configuration",
          [&](const Config& config, const RuleSet& rules) {
            return show_info(config, rules, arguments.show_config);
          });
  info->add_flag("--config", arguments.show_config,
                 "Every option with its value, where it came from and what it means");
  return commands;
}

/// CLI11's words are about its own notions.
Error explain(const CLI::ParseError& error) {
  const std::string_view what = error.what();
  const auto name = what.substr(0, what.find(':'));
  if (what.find("but received") != what.npos)
    return {Errc::invalid_argument, fmt::format("{} is given more than once", name)};
  if (what.ends_with("missing"))
    return {Errc::invalid_argument, fmt::format("{} expects a value; see --help", name)};
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr)
    return {Errc::invalid_argument, fmt::format("{}; see --help", what)};
  return {Errc::invalid_argument, std::string(what)};
}

/// 'shoal rnu' deserves a better answer than "a subcommand is required".
Status check_command(const std::vector<Command>& commands, std::string_view name) {
  if (name.starts_with("-")) return {};
  std::vector<std::string> names;
  for (const auto& command : commands) names.push_back(command.app->get_name());
  if (std::find(names.begin(), names.end(), name) != names.end()) return {};
  const std::vector<std::string_view> known(names.begin(), names.end());
  return Error{Errc::unknown_name, fmt::format("no such command{}", suggest_name(name, known))};
}

int dispatch(const std::vector<Command>& commands, const Arguments& arguments, RuleSet rules) {
  const auto chosen = std::find_if(commands.begin(), commands.end(),
                                   [](const auto& command) { return command.app->parsed(); });
  const auto& name = chosen->app->get_name();
  Status status = reject_extras(*chosen->app, commands);
  const auto config =
      status.ok() ? load_config(arguments.configured) : Result<Config>(status.error());
  if (config.ok()) {
    const auto level = parse_log_level(config->log_level);
    if (level.ok()) set_log_level(*level);
    status = level.ok() ? rules.status() : Status(level.error());
    // A file that all share may name plugins; whoever asks a scheduler runs nobody's code for it.
    if (status.ok() && uses_option(name, "plugins")) status = load_plugins(config->plugins, rules);
  } else {
    status = config.error();
  }
  if (!status.ok()) {
    fail(name, status.error());
    return kWrongCommandLine;
  }
  return chosen->body(*config, rules);
}

/// The program's exit code, given the subcommand's: a full disk that took the output is a failure.
int unless_output_failed(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  fmt::print(stderr, "shoal: cannot write all of the standard output\n");
  return code == 0 ? 1 : code;
}

}  // namespace
}  // namespace cli

int run_program(int argc, char** argv, const RuleSet& rules) {
  CLI::App app{"Shoal, a communication runtime for parameter servers", "shoal"};
  cli::Arguments arguments;
  app.set_version_flag("--version", std::string(version()));
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  const auto commands = cli::add_commands(app, arguments);
  // What follows "--" is the program's own, whatever it looks like.
  auto** const end = argv + argc;
  auto** const separator = std::find(argv, end, std::string_view("--"));
  if (separator != end) arguments.program.assign(separator + 1, end);
  if (argc > 1)
    if (const auto known = cli::check_command(commands, argv[1]); !known.ok()) {
      cli::fail(argv[1], known.error());
      return cli::kWrongCommandLine;
    }
  try {
    app.parse(static_cast<int>(separator - argv), argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    cli::fail(argc > 1 ? argv[1] : "", cli::explain(error));
    return cli::kWrongCommandLine;
  }
  try {
    return cli::unless_output_failed(cli::dispatch(commands, arguments, rules));
  } catch (const std::system_error&) {  // fmt's, of a long text
    return cli::unless_output_failed(1);
  }
}

}  // namespace shoal
