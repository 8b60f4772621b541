#include "server/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "server/cli/options.h"

namespace shoal {
namespace {

/// The program as a shell would call it, with what it printed.
struct Called {
  int code = 0;
  std::string out, err;
};

Called call(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "shoal");
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Called called;
  called.code = run_program(static_cast<int>(argv.size()), argv.data(), RuleSet::builtin());
  called.out = testing::internal::GetCapturedStdout();
  called.err = testing::internal::GetCapturedStderr();
  return called;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Whatever is missing here, CUDA, a driver or that GPU.
TEST(Program, AServerWithoutItsGpuSaysWhatIsMissing) {
  const auto server = call({"server", "--scheduler", "127.0.0.1:1", "--device", "cuda:1023"});
  EXPECT_EQ(server.code, 1);
  EXPECT_TRUE(contains(server.err, "(unavailable)")) << server.err;
  EXPECT_TRUE(contains(server.err, "no NVIDIA driver") || contains(server.err, "has no CUDA") ||
              contains(server.err, "there is no cuda:1023") || contains(server.err, "driver"))
      << server.err;
}

TEST(Program, InfoShowsWhatThereIs) {
  const auto info = call({"info"});
  EXPECT_EQ(info.code, 0);
  for (const auto* part : {"shoal 0.", "tcp    yes", "verbs  no", "cuda   no: ", "ftrl"})
    EXPECT_TRUE(contains(info.out, part)) << info.out;
  EXPECT_FALSE(contains(info.out, "registered with RDMA")) << "where there is none\n" << info.out;
}

TEST(Program, ConfigurationIsShownWithItsOrigin) {
  ::setenv("SHOAL_CREDITS", "7", 1);
  const auto info = call({"info", "--config", "--lost-after", "4s", "--devices", "^mlx5_0:1"});
  ::unsetenv("SHOAL_CREDITS");
  EXPECT_EQ(info.code, 0) << info.err;
  const auto line = [&](const std::string& name) {
    const auto at = info.out.find("\n" + name + " ");
    return at == std::string::npos ? "" : info.out.substr(at + 1, info.out.find('\n', at + 1) - at);
  };
  EXPECT_TRUE(contains(line("credits"), " 7 ")) << info.out;
  EXPECT_TRUE(contains(line("credits"), "environment"));
  EXPECT_TRUE(contains(line("lost_after"), " 4s "));
  EXPECT_TRUE(contains(line("lost_after"), "command line"));
  EXPECT_TRUE(contains(line("spin"), "default"));
  EXPECT_TRUE(contains(line("devices"), " ^mlx5_0:1 "));
  EXPECT_TRUE(contains(line("interfaces"), " \"\" "));
}

TEST(Program, WrongNamesAreAnsweredWithTheNearest) {
  for (const auto& [arguments, answer] :
       {std::pair{std::vector<std::string>{"inof"}, "did you mean 'info'"},
        {{"info", "--wrokers", "3"}, "did you mean '--workers'"},
        {{"run", "--keep-goin", "--", "true"}, "did you mean '--keep-going'"}}) {
    const auto called = call(arguments);
    EXPECT_EQ(called.code, 2);
    EXPECT_TRUE(contains(called.err, answer)) << called.err;
  }
  ::setenv("SHOAL_SPIM", "1us", 1);
  const auto called = call({"info"});
  ::unsetenv("SHOAL_SPIM");
  EXPECT_EQ(called.code, 2);
  EXPECT_TRUE(contains(called.err, "SHOAL_SPIM")) << called.err;
  EXPECT_TRUE(contains(called.err, "did you mean 'spin'")) << called.err;
}

TEST(Program, OnlyThoseThatUseRulesLoadPlugins) {
  ::setenv("SHOAL_PLUGINS", "/nonexistent/x.so", 1);
  const auto status = call({"status", "--scheduler", "127.0.0.1:1", "--connect-timeout", "1ms"});
  const auto server = call({"server", "--scheduler", "127.0.0.1:1"});
  ::unsetenv("SHOAL_PLUGINS");
  EXPECT_EQ(status.code, 1) << status.err;
  EXPECT_FALSE(contains(status.err, "x.so")) << status.err;
  EXPECT_EQ(server.code, 2);
  EXPECT_TRUE(contains(server.err, "/nonexistent/x.so")) << server.err;
}

TEST(Program, WrongUseSaysWhatWasExpected) {
  for (const auto& [arguments, answer] :
       {std::pair{std::vector<std::string>{"run"}, "what to run?"},
        {{"run", "--workers", "0", "--", "true"}, "a cluster has a server and a worker"},
        {{"run", "--servers", "5000", "--", "true"}, "starts on one machine"},
        {{"run", "--servers", "1000000", "--", "true"}, "expected 0 to 8192"},
        {{"run", "--grace", "0s", "--", "true"}, "expected at least 100ms"},
        {{"server", "--credits", "0"}, "expected 2 to 4096"},
        {{"server", "--landing-bytes", "1MiB"}, "landing_bytes = '1MiB': expected 6MiB to"},
        {{"run", "--eager-bytes-max", "1MiB", "--", "true"}, "expected 0 to 64KiB"},
        {{"info", "--worker-lease", "1s"}, "at least twice worker_beat"},
        {{"run", "--grace", "10", "--", "true"}, "expected a duration with a unit"},
        {{"run", "--workers"}, "--workers"},
        {{"info", "--log-level", "loud"}, "expected trace, debug"},
        {{"server", "--device", "gpu"}, "device = 'gpu': expected cpu, or a GPU as in cuda:0"},
        {{"run", "--device", "cuda:", "--", "true"}, "device = 'cuda:': expected cpu"},
        {{"run", "--device", "cuda:1x", "--", "true"}, "device = 'cuda:1x': expected cpu"},
        {{"info", "--device", "cuda:65536"}, "device = 'cuda:65536': expected cpu"},
        {{"info", "--devices", "a,,b"}, "devices = 'a,,b': expected a name as number 2"},
        {{"info", "--config", "--transports", "tpc"}, "--transports: transports = 'tpc': 'tpc' is"},
        {{"run", "--transports", "verbs,tpc", "--", "true"}, "'tpc' is none"},
        {{"perf", "--local", "--transport", "tpc"}, "--transport: transports = 'tpc': 'tpc' is"},
        {{"perf", "--local", "--require", "rdma", "--transports", "tcp"},
         "require = 'rdma' needs verbs among transports, which are 'tcp'"},
        {{"perf", "--local", "--require", "rdma", "--transport", "ucx"},
         "require = 'rdma' needs verbs among transports, which are 'ucx'"},
        {{"server", "--interfaces=^"}, "interfaces = '^': expected a name behind the marker"},
        {{"info", "--plugin", "/nonexistent/x.so"}, "/nonexistent/x.so"},
        {{"perf"}, "one of three: --listen"},
        {{"perf", "--local", "10.0.0.1:1"}, "one of three: --listen"},
        {{"perf", "--local", "--op", "pul"}, "did you mean 'pull'"},
        {{"perf", "--local", "--size", "7"}, "moves rows of 4 bytes"},
        {{"perf", "--local", "--size", "8", "--op", "send,pull", "--size", "2MiB"}, "1 to 1MiB"},
        {{"perf", "--local", "--size", "many"}, "--size many"},
        {{"perf", "--local", "--duration", "5"}, "expected a time above 0 with a unit"},
        {{"perf", "--local", "--iterations", "-1"}, "--iterations -1: expected 1 to 1000000000"},
        {{"perf", "--local", "out.json"}, "--json takes no file"},
        {{"perf", "--local", "--wait", "sleep"}, "expected 'spin' or 'block'"},
        {{"perf", "--local", "--inflight", "5000"}, "at most 1024"},
        {{"perf", "nowhere"}, "nowhere"},
        {{}, "A subcommand is required"},
        {{"run", "--listen", "127.0.0.1:1", "--", "true"}, "--listen is for scheduler, server and"},
        {{"run", "--scheduler=127.0.0.1:1", "--", "true"}, "--scheduler is for server, status"},
        {{"run", "--state-dir", "/tmp", "--", "true"}, "not for run, whose cluster is its own"},
        {{"status", "--servers", "2"}, "--servers is for run and scheduler, not for status"},
        {{"scheduler", "--watch"}, "--watch is for status, not for scheduler"},
        {{"run", "--workers", "2", "--workers", "3"}, "--workers is given more than once"},
        {{"drop"}, "tables is required"},
        {{"info", "more"}, "'more' is not expected"},
        {{"run", "ls"}, "'ls' is not expected here: the program's command comes after '--'"},
        {{"info", "--config-file", "/nonexistent/c.toml"}, "/nonexistent/c.toml"}}) {
    const auto called = call(arguments);
    EXPECT_EQ(called.code, 2) << called.err;
    EXPECT_TRUE(contains(called.err, answer)) << called.err;
  }
}

TEST(Program, PerfPrintsALineForEachSize) {
  const auto perf = call({"perf", "--local", "--op", "send,push", "--size", "8,4KiB", "--wait",
                          "block", "--iterations", "20", "--check"});
  EXPECT_EQ(perf.code, 0) << perf.err;
  for (const auto* part :
       {"t_typical[usec]", "\nsend                8          20", "\nsend             4096",
        "\npush                8", "\npush             4096"})
    EXPECT_TRUE(contains(perf.out, part)) << part << "\n" << perf.out;
}

TEST(Program, OutputThatCannotBeWrittenIsAFailure) {
  const int kept = ::dup(1), full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  std::fflush(stdout);
  ::dup2(full, 1);
  char shoal[] = "shoal", info[] = "info";
  char* argv[] = {shoal, info, nullptr};
  testing::internal::CaptureStderr();
  const int code = run_program(2, argv, RuleSet::builtin());
  ::dup2(kept, 1);
  std::clearerr(stdout);
  ::close(kept);
  ::close(full);
  EXPECT_TRUE(contains(testing::internal::GetCapturedStderr(), "cannot write"));
  EXPECT_EQ(code, 1);
}

TEST(Program, PerfTriesItsOutputFirst) {
  const auto perf = call({"perf", "--local", "--plot", "/nonexistent/perf.png"});
  EXPECT_EQ(perf.code, 1);
  EXPECT_TRUE(contains(perf.err, "cannot write /nonexistent/perf.png")) << perf.err;
  EXPECT_EQ(perf.out, "");
}

TEST(Program, PerfSaysWhenNobodyListens) {
  const auto perf = call({"perf", "127.0.0.1:1", "--token-file", "/nonexistent/token"});
  EXPECT_EQ(perf.code, 1);
  EXPECT_TRUE(contains(perf.err, "/nonexistent/token")) << perf.err;
}

TEST(Program, HelpNamesEveryCommand) {
  const auto help = call({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const auto* part : {"run", "info"}) EXPECT_TRUE(contains(help.out, part)) << help.out;
}

TEST(Program, HelpHasTheOptionsThatAreUsed) {
  const auto run = call({"run", "--help"}).out;
  EXPECT_TRUE(contains(run, "--lost-after TIME [30s]")) << run;
  EXPECT_TRUE(contains(run, "--landing-bytes SIZE [64MiB]")) << run;
  EXPECT_FALSE(contains(run, "--listen")) << run;
  const auto status = call({"status", "--help"}).out;
  EXPECT_TRUE(contains(status, "--scheduler HOST:PORT")) << status;
  EXPECT_FALSE(contains(status, "--lost-after")) << status;
  EXPECT_TRUE(contains(call({"perf", "--help"}).out, "[caller]"));
}

TEST(Program, EveryOptionIsUsedBySomeSubcommand) {
  for (const auto& option : Config{}.show()) {
    bool used = false;
    for (const auto* command : {"run", "scheduler", "server", "status", "drop", "perf"})
      used |= cli::uses_option(command, option.name);
    EXPECT_TRUE(used) << option.name;
  }
  EXPECT_FALSE(cli::uses_option("run", "no_such_option"));
}

TEST(Program, ConfigFilesMayHoldTheOptionsOfAll) {
  ::setenv("SHOAL_STATE_DIR", "/nonexistent", 1);
  const auto info = call({"info", "--config", "--plugin", "a.so", "--plugins", "b.so,c.so"});
  ::unsetenv("SHOAL_STATE_DIR");
  EXPECT_EQ(info.code, 2) << info.out;  // there is no a.so
  EXPECT_TRUE(contains(info.err, "a.so")) << info.err;
}

}  // namespace
}  // namespace shoal
