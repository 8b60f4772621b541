#include "perf/bench/row.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace shoal::perf {
namespace {

const SteadyClock kClock;

Row::Side numbers(std::vector<double> values) {
  return [values, next = std::make_shared<std::size_t>(0)](const Effort&) -> Result<double> {
    return values.at((*next)++);
  };
}

TEST(Row, RatioIsOfNeighbours) {
  // The machine gets ten times slower after the first run: the ratio does not see it.
  const Row row{"r", "us", Goal::ratio_at_most(2.5), numbers({20, 200, 210}),
                numbers({10, 100, 100})};
  const auto outcome = run_row(row, {kClock}, 3);
  ASSERT_TRUE(outcome.ok());
  EXPECT_DOUBLE_EQ(outcome->value, 200);
  EXPECT_DOUBLE_EQ(*outcome->raw, 100);
  EXPECT_DOUBLE_EQ(*outcome->ratio, 2);
  EXPECT_TRUE(outcome->met());
}

TEST(Row, GoalsOfAllKinds) {
  EXPECT_TRUE(Goal::ratio_at_most(1.3).met(100, 1.3));
  EXPECT_FALSE(Goal::ratio_at_most(1.3).met(0, 1.31));
  EXPECT_TRUE(Goal::ratio_at_least(0.9).met(0, 0.9));
  EXPECT_FALSE(Goal::ratio_at_least(0.9).met(100, 0.89));
  EXPECT_TRUE(Goal::value_at_least(200).met(200, 0));
  EXPECT_FALSE(Goal::value_at_least(200).met(199, 1000));
  EXPECT_TRUE(Goal::value_at_most(24).met(24, 1000));
  EXPECT_FALSE(Goal::value_at_most(24).met(24.1, 0));
  EXPECT_TRUE(Goal{}.met(0, 0));
  EXPECT_EQ(Goal::ratio_at_most(1.3).to_string(), "ratio <= 1.3");
  EXPECT_EQ(Goal::value_at_least(200).to_string(), "value >= 200");
}

TEST(Row, AFailingSideFailsTheRow) {
  const Row row{"r", "us", {}, numbers({1, 2}), [](const Effort&) -> Result<double> {
                  return Error{Errc::io, "no sockets"};
                }};
  EXPECT_EQ(run_row(row, {kClock}, 2).code(), Errc::io);
}

TEST(Row, Json) {
  const Row row{"tcp/x", "GB/s", Goal::ratio_at_least(0.9), numbers({3, 1, 2}), numbers({4, 4, 4})};
  const Row alone{"first", "Mkeys/s", {}, numbers({5}), {}};
  const auto outcome = run_row(row, {kClock}, 3);
  const auto other = run_row(alone, {kClock}, 1);
  ASSERT_TRUE(outcome.ok() && other.ok());
  const auto json = nlohmann::json::parse(json_of({*outcome, *other}, "abc", true));
  EXPECT_EQ(json["commit"], "abc");
  EXPECT_FALSE(json["host"].get<std::string>().empty());
  const auto& result = json["results"][0];
  EXPECT_EQ(result["name"], "tcp/x");
  EXPECT_EQ(result["value"], 2.0);
  EXPECT_EQ(result["unit"], "GB/s");
  EXPECT_EQ(result["raw"], 4.0);
  EXPECT_EQ(result["ratio"], 0.5);
  EXPECT_EQ(result["goal"], "ratio >= 0.9");
  EXPECT_EQ(result["met"], false);
  EXPECT_TRUE(json["results"][1]["raw"].is_null());
  EXPECT_FALSE(json["results"][1].contains("met"));
}

TEST(Row, TheSuiteNamesEachRowOnce) {
  std::set<std::string> names;
  for (const auto& row : suite_rows()) EXPECT_TRUE(names.insert(row.name).second) << row.name;
  for (const auto* name : {"tcp/pull/8B/rate", "tcp/push/64MiB", "tcp/sparse_new/1M/pull",
                           "ops/adam", "memory/dense/1GiB"})
    EXPECT_TRUE(names.contains(name)) << name;
}

}  // namespace
}  // namespace shoal::perf
