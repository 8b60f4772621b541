#include "examples/sparse_lr/libsvm_line.h"

#include <gtest/gtest.h>

#include <string>

namespace shoal::sparse_lr {
namespace {

const LineRules kRules;

CsrBatch parsed(std::string_view line, const LineRules& rules = kRules) {
  CsrBatch batch;
  const auto status = parse_line(line, rules, batch);
  EXPECT_TRUE(status.ok()) << line << ": " << status.error().message();
  return batch;
}

std::string error_of(std::string_view line, const LineRules& rules = kRules) {
  CsrBatch batch;
  batch.labels = {1};
  batch.row_ends = {1};
  batch.keys = {7};
  batch.values = {2};
  const auto status = parse_line(line, rules, batch);
  EXPECT_FALSE(status.ok()) << line;
  EXPECT_EQ(batch.row_count(), 1u) << "an error leaves the batch as it was";
  EXPECT_EQ(batch.keys, std::vector<Key>{7});
  EXPECT_EQ(batch.values, std::vector<float>{2});
  return status.ok() ? "" : status.error().what;
}

TEST(LibsvmLine, ReadsLabelsIndicesAndValues) {
  const auto batch = parsed("+1 1:0.5 3:-2e1 1048576:+1");
  EXPECT_EQ(batch.labels, std::vector<float>{1});
  EXPECT_EQ(batch.row_ends, std::vector<std::uint32_t>{3});
  EXPECT_EQ(batch.keys, (std::vector<Key>{0, 2, 1048575}));
  EXPECT_EQ(batch.values, (std::vector<float>{0.5f, -20.0f, 1.0f}));
}

TEST(LibsvmLine, TakesWhatWritersPutAroundTheNumbers) {
  for (const char* line :
       {"-1 1:1 2:3", "-1 1:1 2:3\r", "  -1\t1:1   2:3 \t ", "-1 1:1 2:3 # a # b",
        "-1.0 1:1.0 2:3.0", "-1 1:1 2:3#", "-1 01:1 2:3"}) {
    const auto batch = parsed(line);
    EXPECT_EQ(batch.labels, std::vector<float>{-1}) << line;
    EXPECT_EQ(batch.keys, (std::vector<Key>{0, 1})) << line;
    EXPECT_EQ(batch.values, (std::vector<float>{1, 3})) << line;
  }
}

TEST(LibsvmLine, LinesWithoutExampleAreNone) {
  for (const char* line : {"", "\r", "   ", "# only a comment", " \t# 1 1:1"})
    EXPECT_TRUE(parsed(line).empty()) << line;
}

TEST(LibsvmLine, AnExampleMayHaveNoFeatures) {
  const auto batch = parsed("1");
  EXPECT_EQ(batch.row_count(), 1u);
  EXPECT_EQ(batch.entry_count(), 0u);
}

TEST(LibsvmLine, ZerosAreDropped) {
  EXPECT_EQ(parsed("1 1:0 2:5 3:-0 4:1e-300").keys, std::vector<Key>{1});
}

TEST(LibsvmLine, ClassesAreAnyTwoNumbers) {
  const LineRules rules{.classes = {1, 2}};
  EXPECT_EQ(parsed("1 1:1", rules).labels, std::vector<float>{-1});
  EXPECT_EQ(parsed("2 1:1", rules).labels, std::vector<float>{1});
  EXPECT_EQ(error_of("0 1:1", rules), "expected a label of the two classes 1 and 2, found '0'");
}

TEST(LibsvmLine, SaysWhatWasExpected) {
  EXPECT_EQ(error_of("spam 1:1"), "expected a label (a number), found 'spam'");
  EXPECT_EQ(error_of("nan 1:1"), "expected a label (a number), found 'nan'");
  EXPECT_EQ(error_of("+-1 1:1"), "expected a label (a number), found '+-1'");
  EXPECT_EQ(error_of("1,2 1:1"), "expected a label (a number), found '1,2'");
  EXPECT_EQ(error_of("1 5"), "expected index:value, found '5'");
  EXPECT_EQ(error_of("1 qid:3 1:1"),
            "expected an index (a whole number from 1 on) before the ':', found 'qid'");
  EXPECT_EQ(error_of("1 -3:1"),
            "expected an index (a whole number from 1 on) before the ':', found '-3'");
  EXPECT_EQ(error_of("1 :1"),
            "expected an index (a whole number from 1 on) before the ':', found ''");
  EXPECT_EQ(error_of("1 0:1"), "expected an index of at least 1 (libsvm counts from 1), found '0'");
  EXPECT_EQ(error_of("1 1:"),
            "expected a finite value, within a float's range, after the ':', found ''");
  EXPECT_EQ(error_of("1 1:2:3"),
            "expected a finite value, within a float's range, after the ':', found '2:3'");
  for (const char* value : {"nan", "inf", "-inf", "1e39", "1e999", "0x10", "1e", "++1", "--1"})
    EXPECT_EQ(error_of("1 1:" + std::string(value)),
              "expected a finite value, within a float's range, after the ':', found '" +
                  std::string(value) + "'");
}

TEST(LibsvmLine, IndicesAscend) {
  const std::string rule = " (the indices of a line ascend, none twice), found ";
  EXPECT_EQ(error_of("1 5:1 4:1"), "expected an index above 5" + rule + "'4'");
  EXPECT_EQ(error_of("1 5:1 5:1"), "expected an index above 5" + rule + "'5'");
  EXPECT_EQ(error_of("1 5:0 5:1"), "expected an index above 5" + rule + "'5'") << "zeros count";
}

TEST(LibsvmLine, IndicesDoNotOverflow) {
  EXPECT_EQ(parsed("1 2147483647:1").keys, std::vector<Key>{2147483646});
  for (const char* index : {"2147483648", "9223372036854775808", "18446744073709551617",
                            "99999999999999999999999999999999"})
    EXPECT_EQ(error_of("1 " + std::string(index) + ":1"),
              "expected an index of at most 2147483647, found '" + std::string(index) + "'");
  EXPECT_EQ(error_of("1 101:1", {.index_max = 100}),
            "expected an index of at most 100, found '101'");
}

TEST(LibsvmLine, MessagesStayPrintableAndShort) {
  const auto message = error_of("\x01\xff" + std::string(1000, 'x') + " 1:1");
  EXPECT_EQ(message, "expected a label (a number), found '??" + std::string(38, 'x') + "...'");
}

TEST(LibsvmLine, SummaryReadsLabelAndLastIndexOnly) {
  const auto summary = summarise_line("-1 1:garbage? 7:2  # x").value();
  EXPECT_TRUE(summary.has_example);
  EXPECT_EQ(summary.label, -1);
  EXPECT_EQ(summary.last_index, 7u);
  EXPECT_EQ(summarise_line("3").value().last_index, 0u);
  EXPECT_EQ(summarise_line("3").value().label, 3);
  EXPECT_FALSE(summarise_line("# x").value().has_example);
  EXPECT_FALSE(summarise_line("1 2").ok());
  EXPECT_FALSE(summarise_line("x 2:1").ok());
  EXPECT_FALSE(summarise_line("1 2147483648:1").ok());
}

}  // namespace
}  // namespace shoal::sparse_lr
