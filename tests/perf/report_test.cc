#include "perf/report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "perf/perf.h"
#include "tests/support/temp_dir.h"

namespace shoal::perf {
namespace {

Line line_of(Op op, std::size_t bytes) {
  Line line;
  line.op = op;
  line.bytes = bytes;
  line.latency = {100, 1000, 2500, 4000, 5000, 6000, 2600, 10};
  line.loaded.count = 77;
  line.rate = 2e6;
  line.bytes_rate = 3.0 * 1024 * 1024;
  line.peak = 4.0 * 1024 * 1024;
  line.cpu_seconds_per_gib = 0.5;
  return line;
}

TEST(Report, LinesStandUnderTheirColumns) {
  const auto head = report_head({.transport = "tcp", .peer = "local", .both_ways = true});
  EXPECT_NE(head.find("# transport tcp, peer local, spin, caller-driven, both directions"),
            std::string::npos)
      << head;
  const auto columns = head.substr(head.find('\n') + 1);
  const auto line = report_line(line_of(Op::push, 4096));
  EXPECT_EQ(columns.size(), line.size());
  const auto value_under = [&](const std::string& column) {
    const auto end = columns.find(column) + column.size();
    const auto begin = line.find_last_of(' ', end - 1) + 1;
    return line.substr(begin, end - begin);
  };
  EXPECT_EQ(value_under("#bytes"), "4096");
  EXPECT_EQ(value_under("#iterations"), "77");
  EXPECT_EQ(value_under("t_typical[usec]"), "2.50");
  EXPECT_EQ(value_under("t_99.9%[usec]"), "5.00");
  EXPECT_EQ(value_under("BW peak[MiB/sec]"), "4.00");
  EXPECT_EQ(value_under("BW average[MiB/sec]"), "3.00");
  EXPECT_EQ(value_under("MsgRate[Mpps]"), "2.000000");
  EXPECT_EQ(value_under("CPU[s/GiB]"), "0.500");
}

TEST(Report, SpinningOnBusyCoresIsTold) {
  Line line;
  line.bytes = 8;
  line.latency.p50 = 16e6;
  EXPECT_NE(advice(Settings{}, {line}).find("--wait block"), std::string::npos);
  Settings blocking;
  blocking.wait = Wait::block;
  EXPECT_EQ(advice(blocking, {line}), "");
  line.latency.p50 = 20e3;
  EXPECT_EQ(advice(Settings{}, {line}), "");
  line.bytes = 64u << 20;
  line.latency.p50 = 16e6;
  EXPECT_EQ(advice(Settings{}, {line}), "") << "so many bytes take their time";
}

TEST(Report, Json) {
  const auto json = nlohmann::json::parse(
      report_json({.transport = "tcp", .peer = "local"}, {line_of(Op::pull, 8)}));
  EXPECT_EQ(json["settings"]["wait"], "spin");
  const auto& result = json["results"][0];
  EXPECT_EQ(result["op"], "pull");
  EXPECT_EQ(result["bytes"], 8);
  EXPECT_EQ(result["latency_us"]["p99"], 4.0);
  EXPECT_EQ(result["operations_per_s"], 2e6);
  EXPECT_EQ(result["cpu_s_per_gib"], 0.5);
}

TEST(Report, APictureIsDrawn) {
  const Settings settings{.transport = "tcp", .peer = "it's here"};
  const TempDir directory;
  const auto path = directory.path() / "it's a picture.png";
  const auto script = plot_script(
      settings, {line_of(Op::push_pull, 8), line_of(Op::push_pull, 512), line_of(Op::read, 8)},
      path.string());
  EXPECT_NE(script.find("$push_pull << END\n8 2.5 4 "), std::string::npos) << script;
  const auto drawn = draw(script, path.string());
  if (drawn.ok()) {
    EXPECT_GT(std::filesystem::file_size(path), 1000u);
  } else {
    EXPECT_EQ(drawn.error().code, Errc::unavailable) << drawn.error().message();
    EXPECT_NE(drawn.error().what.find("gnuplot-nox"), std::string::npos);
  }
}

TEST(Report, WhatGnuplotSaysIsTold) {
  const auto drawn = draw("set nonsense\n", "x.png");
  ASSERT_FALSE(drawn.ok());
  if (drawn.error().code == Errc::io) {
    EXPECT_NE(drawn.error().what.find("gnuplot could not draw x.png: "), std::string::npos);
  }
}

TEST(Plan, LocallyEveryKindOfOperation) {
  Plan plan;
  plan.ops = {Op::send, Op::pull, Op::push_pull};
  plan.sizes = {64, 4096};
  plan.limits = {.warmup = {}, .duration = {}, .iterations = 10};
  plan.wait = Wait::block;
  plan.both_ways = plan.check = true;
  Config config;
  config.progress = Config::Progress::caller;
  const SteadyClock clock;
  std::size_t shown = 0;
  const auto lines = measure_locally(plan, config, clock, [&](const Line&) { ++shown; });
  ASSERT_TRUE(lines.ok()) << lines.error().message();
  ASSERT_EQ(lines->size(), 6u);
  EXPECT_EQ(shown, 6u);
  for (const auto& line : *lines) {
    EXPECT_EQ(line.latency.count, 10u);
    EXPECT_EQ(line.loaded.count, 10u);
    EXPECT_GT(line.cpu_seconds_per_gib, 0);
    EXPECT_DOUBLE_EQ(line.bytes_rate, line.rate * 2 * static_cast<double>(line.bytes));
  }
}

}  // namespace
}  // namespace shoal::perf
