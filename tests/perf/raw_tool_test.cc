#include "perf/raw_tool.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace shoal::perf {
namespace {

const SteadyClock kSteady;

Tool tool(std::string program) {
  return {
      .program = std::move(program), .package = "moreutils", .arguments = {}, .environment = {}};
}

TEST(RawTool, OneThatIsMissingSaysWhereItIs) {
  const auto text = run_tool(tool("perftest-of-nobody"), kSteady);
  ASSERT_EQ(text.code(), Errc::unavailable);
  EXPECT_EQ(text.error().what, "perftest-of-nobody is not installed (Debian: moreutils)");
}

TEST(RawTool, OneThatFailsIsQuoted) {
  auto failing = tool("sh");
  failing.arguments = {"-c", "echo first; echo no such device >&2; exit 3"};
  const auto text = run_tool(failing, kSteady);
  ASSERT_EQ(text.code(), Errc::io);
  EXPECT_EQ(text.error().what, "the server of sh failed: no such device");
}

TEST(RawTool, OneThatDoesNothingIsGivenUp) {
  auto idle = tool("sh");
  idle.arguments = {"-c", "read line </dev/zero"};
  idle.limit = std::chrono::milliseconds(20);
  EXPECT_EQ(run_tool(idle, kSteady).code(), Errc::timed_out);
}

TEST(RawTool, TheLastLineOfNumbersCounts) {
  constexpr const char* kText = "| test | 1 | 2\n1,2.5,3\n 4  5.25 6e1 \nbye 7 8 9\n10\n\n";
  EXPECT_EQ(last_numbers(kText, 2).value(), (std::vector<double>{4, 5.25, 60}));
  EXPECT_EQ(last_numbers(kText, 1).value(), (std::vector<double>{10}));
  EXPECT_EQ(last_numbers(kText, 4).code(), Errc::protocol);
  EXPECT_EQ(last_numbers("", 1).code(), Errc::protocol);
}

/// Listens; as a client prints infinity before its run number `runs`, which a file counts.
Tool infinite_before(int runs, const std::string& file) {
  auto fake = tool("/usr/bin/python3");
  fake.arguments = {"-c",
                    R"(
import socket, sys, time
file, good, port, client = sys.argv[1], int(sys.argv[2]), int(sys.argv[4]), len(sys.argv) > 5
if client:
    with open(file, "a+") as runs:
        runs.write("x")
        runs.seek(0)
        print(8, 2.5 if len(runs.read()) >= good else "inf")
else:
    listener = socket.create_server(("", port))
    time.sleep(100)
)",
                    file, std::to_string(runs)};
  return fake;
}

TEST(RawTool, InfinityIsAskedForAgainAndNeverAFigure) {
  const TempDir folder;
  const auto file = [&](const char* name) { return (folder.path() / name).string(); };
  EXPECT_EQ(tool_figure(infinite_before(2, file("two")), 2, 1, kSteady).value(), 2.5);
  EXPECT_EQ(tool_figure(infinite_before(100, file("never")), 2, 1, kSteady).code(), Errc::protocol);
}

TEST(RawTool, UcxPerftestIsUnderstood) {
  for (const auto* test : {"ucp_am_lat", "ucp_put_bw", "ucp_get"}) {
    auto perftest = ucx_perftest(test, 4096, 100);
    perftest.environment = {{"UCX_TLS", "posix,self"}};
    const bool latency = std::string_view(test) == "ucp_am_lat";
    const auto number =
        latency ? ucx_round_trip_us(perftest, kSteady) : ucx_bandwidth(perftest, kSteady);
    if (number.code() == Errc::unavailable) GTEST_SKIP() << number.error().message();
    ASSERT_TRUE(number.ok()) << number.error().message();
    EXPECT_GT(*number, 0);
  }
}

}  // namespace
}  // namespace shoal::perf
