#include "perf/raw_figures.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace shoal::perf {
namespace {

const SteadyClock kTime;

Line line(Op op, std::size_t bytes, std::string path) {
  Line made;
  made.op = op;
  made.bytes = bytes;
  made.path = std::move(path);
  return made;
}

bool has(const Tool& tool, const std::string& option, const std::string& value) {
  const auto at = std::find(tool.arguments.begin(), tool.arguments.end(), option);
  return at != tool.arguments.end() && at + 1 != tool.arguments.end() && at[1] == value;
}

TEST(RawFigures, NothingForTcp) {
  EXPECT_TRUE(raw_runs({line(Op::pull, 8, "tcp to 10.0.0.1")}).empty());
  EXPECT_TRUE(raw_figures({}, true, kTime).empty());
}

TEST(RawFigures, TheSmallestForLatencyAndTheLargestForBandwidth) {
  const auto* path = "ucx 1.13.1 over posix/memory, packets of 32512 B";
  const auto runs = raw_runs({line(Op::pull, 8, path), line(Op::pull, 4096, path),
                              line(Op::push, 64, path), line(Op::push, 1 << 20, path)});
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_TRUE(runs[0].figure == RawRun::Figure::one_way && has(runs[0].tool, "-t", "ucp_am_lat"));
  EXPECT_TRUE(has(runs[0].tool, "-s", "8"));
  EXPECT_TRUE(has(runs[1].tool, "-t", "ucp_put_bw") && has(runs[1].tool, "-s", "4096"));
  EXPECT_TRUE(has(runs[2].tool, "-t", "ucp_get") && has(runs[2].tool, "-s", "1048576"));
}

TEST(RawFigures, OfVerbsByDeviceAndPort) {
  const auto runs =
      raw_runs({line(Op::read, 4096,
                     "verbs mlx5_1 port 2 (RoCE v2 10.0.0.1, GID index 3, MTU 4096) to 10.0.0.2")});
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].tool.program, "ib_read_lat");
  EXPECT_EQ(runs[0].figure, RawRun::Figure::round_trip);
  EXPECT_EQ(runs[1].tool.program, "ib_read_bw");
  for (const auto& run : runs)
    EXPECT_TRUE(has(run.tool, "-d", "mlx5_1") && has(run.tool, "-i", "2") &&
                has(run.tool, "-x", "3"));
}

TEST(RawFigures, WhatIsFetchedIsComparedWithREADs) {
  for (const auto op : {Op::read, Op::push, Op::onesided})
    EXPECT_EQ(raw_runs({line(op, 4096, "verbs rxe0 port 1 (RoCE)")}).back().tool.program,
              "ib_read_bw");
  for (const auto op : {Op::write, Op::pull})
    EXPECT_EQ(raw_runs({line(op, 4096, "verbs rxe0 port 1 (RoCE)")}).back().tool.program,
              "ib_write_bw");
}

TEST(RawFigures, MessagesAreComparedWithMessages) {
  for (const auto op : {Op::push, Op::pull, Op::send}) {
    const auto runs = raw_runs({line(op, 64, "verbs rxe0 port 1 (RoCE)")});
    EXPECT_EQ(runs.front().tool.program, "ib_send_lat");
    EXPECT_EQ(runs.front().figure, RawRun::Figure::one_way);
  }
}

TEST(RawFigures, FarAwayTheCommandsAreTold) {
  const auto texts = raw_figures({line(Op::write, 64, "verbs rxe0 port 1 (RoCE)")}, false, kTime);
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[1],
            "to compare: 'ib_write_bw -s 64 -n 1000 -F -d rxe0 -i 1' there, and here the same with "
            "its host");
}

}  // namespace
}  // namespace shoal::perf
