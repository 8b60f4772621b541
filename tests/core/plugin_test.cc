#include "core/ops/plugin.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/ops/rules.h"
#include "examples/custom_update/lion.h"
#include "tests/core/mentions.h"

namespace shoal {
namespace {

/// The shared objects of tests/core/plugin lie in a folder of their own beside this program.
std::string plugin(const std::string& name) { return SHOAL_TEST_PLUGIN_DIR "/" + name + ".so"; }

TEST(Plugin, AddsItsRules) {
  auto rules = RuleSet::builtin();
  const auto builtin_count = rules.names().size();
  const auto status = load_plugin(plugin("test_plugin_good"), rules);
  ASSERT_TRUE(status.ok()) << status.error().message();
  EXPECT_EQ(rules.names().size(), builtin_count + 2);

  auto scaled = rules.make({"test_scaled", {{"factor", 5}}, 1, Aggregate::sum}, DType::i32).value();
  std::vector<std::int32_t> weights{1, 2, 3};
  const std::vector<std::int32_t> pushed{10, 20, 30};
  const DenseRows rows{{reinterpret_cast<std::byte*>(weights.data()), nullptr, nullptr}, {}, 0, 3};
  scaled.apply(rows, reinterpret_cast<const std::byte*>(pushed.data()));
  EXPECT_EQ(weights, (std::vector<std::int32_t>{51, 102, 153}));
  EXPECT_EQ(scaled.set_parameter("factr", 1).code(), Errc::unknown_name);

  auto counted = rules.make({"test_counted", {}, 1, Aggregate::sum}, DType::f64).value();
  EXPECT_EQ(counted.traits().states, 1);
  double weight = 0;
  double count = 77;
  const double input = 0.5;
  const DenseRows row{
      {reinterpret_cast<std::byte*>(&weight), reinterpret_cast<std::byte*>(&count), nullptr},
      {.state_stride = 8},
      0,
      1};
  counted.reset(row);
  for (int i = 0; i < 3; ++i) counted.apply(row, reinterpret_cast<const std::byte*>(&input));
  EXPECT_EQ(weight, 3.0);

  const auto twice = load_plugin(plugin("test_plugin_good"), rules);
  EXPECT_EQ(twice.code(), Errc::exists);
  EXPECT_TRUE(mentions(twice.error(), "test_scaled")) << twice.error().what;
}

TEST(Plugin, OfTheExampleIsLion) {
  auto rules = RuleSet::builtin();
  ASSERT_TRUE(load_plugin(plugin("test_plugin_lion"), rules).ok());
  auto rule = rules.make(Lion{.learning_rate = 0.25, .decay = 0.5}, DType::f32).value();
  std::vector<float> weights{1, 1, 1, 1};
  std::vector<float> means(4);
  const DenseRows rows{{reinterpret_cast<std::byte*>(weights.data()),
                        reinterpret_cast<std::byte*>(means.data()), nullptr},
                       {.state_stride = 16},
                       0,
                       4};
  const std::vector<float> gradients{3, -0.001f, 0, std::nanf("")};
  rule.reset(rows);
  rule.apply(rows, reinterpret_cast<const std::byte*>(gradients.data()));
  EXPECT_FLOAT_EQ(weights[0], 1 - 0.25f * (1 + 0.5f));
  EXPECT_FLOAT_EQ(weights[1], 1 - 0.25f * (-1 + 0.5f));
  EXPECT_FLOAT_EQ(weights[2], 1 - 0.25f * 0.5f);
  EXPECT_TRUE(std::isnan(weights[3]));
  EXPECT_FLOAT_EQ(means[0], 0.01f * 3);
}

TEST(Plugin, AddsAllItsRulesOrNone) {
  auto rules = RuleSet::builtin();
  const auto names = rules.names();
  const auto status = load_plugin(plugin("test_plugin_taken"), rules);
  EXPECT_EQ(status.code(), Errc::exists);
  EXPECT_TRUE(mentions(status.error(), "'sgd'")) << status.error().what;
  EXPECT_TRUE(mentions(status.error(), "test_plugin_taken")) << status.error().what;
  EXPECT_EQ(rules.names(), names);
  EXPECT_TRUE(rules.status().ok());
}

TEST(Plugin, OfAnotherVersionIsRefusedBeforeItRuns) {
  auto rules = RuleSet::builtin();
  const auto status = load_plugin(plugin("test_plugin_stale"), rules);
  EXPECT_EQ(status.code(), Errc::mismatch);
  EXPECT_TRUE(mentions(status.error(), "version 999")) << status.error().what;
  EXPECT_TRUE(mentions(status.error(), "rebuild")) << status.error().what;
}

TEST(Plugin, CutShortItIsRefusedAndNotMapped) {
  std::ifstream whole_file(plugin("test_plugin_good"), std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(whole_file), {}};
  ASSERT_GT(whole.size(), 4096u);
  const auto path = ::testing::TempDir() + "/cut_plugin.so";
  auto rules = RuleSet::builtin();
  // Without the last byte; without its end; within the program headers; within the file's header.
  for (const auto size : {whole.size() - 1, whole.size() / 2, std::size_t{100}, std::size_t{40}}) {
    std::ofstream(path, std::ios::binary) << whole.substr(0, size);
    const auto status = load_plugin(path, rules);
    ASSERT_FALSE(status.ok()) << size;
    EXPECT_TRUE(mentions(status.error(), path)) << status.error().what;
    if (size < 4096) continue;
    EXPECT_EQ(status.code(), Errc::corrupt);
    EXPECT_TRUE(mentions(status.error(), "was cut short")) << status.error().what;
  }
  std::remove(path.c_str());
}

TEST(Plugin, OtherFilesAreRefused) {
  auto rules = RuleSet::builtin();
  const auto stranger = load_plugin(plugin("test_plugin_stranger"), rules);
  EXPECT_EQ(stranger.code(), Errc::mismatch);
  EXPECT_TRUE(mentions(stranger.error(), "is no Shoal plugin")) << stranger.error().what;
  const auto missing = load_plugin("/nonexistent/rules.so", rules);
  EXPECT_EQ(missing.code(), Errc::io);
  EXPECT_TRUE(mentions(missing.error(), "/nonexistent/rules.so")) << missing.error().what;

  const auto text_path = ::testing::TempDir() + "/no_plugin.so";
  std::ofstream(text_path) << "just text\n";
  EXPECT_EQ(load_plugin(text_path, rules).code(), Errc::io);
  std::remove(text_path.c_str());
}

}  // namespace
}  // namespace shoal
