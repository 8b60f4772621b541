#include "examples/sparse_lr/batch_source.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/examples/scratch_files.h"

namespace shoal::sparse_lr {
namespace {

constexpr std::size_t kExamples = 100;
constexpr std::size_t kRows = 8;

/// Every example has feature 1 and one of its own.
std::string lines() {
  std::string text;
  for (std::size_t i = 0; i < kExamples; ++i)
    text += (i % 3 == 0 ? "+1 1:0.5 " : "-1 1:2 ") + std::to_string(i + 2) + ":" +
            std::to_string(i + 1) + "\n";
  return text;
}

BatchSource open(const std::string& path, std::size_t memory_bytes, std::size_t lent = 1) {
  auto reader = LibsvmReader::open(path, {.classes = {-1, 1}});
  EXPECT_TRUE(reader.ok());
  return {std::move(reader).value(),
          {.rows_max = kRows, .memory_bytes = memory_bytes, .lent = lent}};
}

/// What a pass says: labels, and for each entry its key and value.
std::vector<double> contents(const Batch& batch) {
  std::vector<double> all(batch.labels.begin(), batch.labels.end());
  for (std::size_t i = 0; i < batch.values.size(); ++i) {
    all.push_back(static_cast<double>(batch.keys[batch.columns[i]]));
    all.push_back(batch.values[i]);
  }
  all.insert(all.end(), batch.row_ends.begin(), batch.row_ends.end());
  return all;
}

std::vector<std::vector<double>> pass(BatchSource& source) {
  std::vector<std::vector<double>> batches;
  for (;;) {
    const auto batch = source.next();
    EXPECT_TRUE(batch.ok());
    if (!batch.ok() || *batch == nullptr) return batches;
    EXPECT_LE((*batch)->row_count(), kRows);
    batches.push_back(contents(**batch));
  }
}

TEST(BatchSource, EveryPassIsTheSameWhetherInMemoryOrReadAgain) {
  const ScratchFiles files;
  const auto path = files.write("train.svm", lines());
  auto in_memory = open(path, SIZE_MAX);
  const auto first = pass(in_memory);
  EXPECT_EQ(first.size(), (kExamples + kRows - 1) / kRows);
  EXPECT_TRUE(in_memory.kept());
  for (const std::size_t memory : {std::size_t{0}, std::size_t{1500}, SIZE_MAX}) {
    auto source = open(path, memory);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(source.rewind().ok());
      EXPECT_EQ(pass(source), first) << memory << " bytes, pass " << i;
      EXPECT_EQ(source.kept(), memory == SIZE_MAX);
    }
  }
}

TEST(BatchSource, WhatIsKeptNeedsNoFile) {
  const ScratchFiles files;
  const auto path = files.write("train.svm", lines());
  auto source = open(path, SIZE_MAX);
  const auto first = pass(source);
  files.write("train.svm", "something else\n");
  ASSERT_TRUE(source.rewind().ok());
  EXPECT_EQ(pass(source), first);
}

TEST(BatchSource, LentBatchesStayWhileOthersAreRead) {
  constexpr std::size_t kLent = 4;
  const ScratchFiles files;
  const auto path = files.write("train.svm", lines());
  // None fits, some do, all do: what fitted is given up in the middle of the pass.
  for (const std::size_t memory : {std::size_t{0}, std::size_t{3000}, SIZE_MAX}) {
    auto source = open(path, memory, kLent);
    std::vector<const Batch*> held;
    std::vector<std::vector<double>> expected;
    for (int passes = 0; passes < 3; ++passes) {
      for (;;) {
        const auto batch = source.next();
        ASSERT_TRUE(batch.ok());
        if (*batch == nullptr) break;
        held.push_back(*batch);
        expected.push_back(contents(**batch));
        for (std::size_t back = 0; back < std::min(kLent, held.size()); ++back)
          EXPECT_EQ(contents(*held[held.size() - 1 - back]), expected[held.size() - 1 - back]);
      }
      ASSERT_TRUE(source.rewind().ok());
    }
  }
}

TEST(BatchSource, APassBrokenOffIsNotTakenForAWhole) {
  const ScratchFiles files;
  const auto path = files.write("train.svm", lines());
  auto whole = open(path, SIZE_MAX);
  const auto first = pass(whole);
  auto source = open(path, SIZE_MAX);
  ASSERT_TRUE(source.next().ok());
  ASSERT_TRUE(source.rewind().ok());
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(pass(source), first);
    ASSERT_TRUE(source.rewind().ok());
  }
}

TEST(BatchSource, ABatchEndsByItsEntriesToo) {
  const ScratchFiles files;
  auto reader = LibsvmReader::open(files.write("train.svm", lines()), {.classes = {-1, 1}});
  ASSERT_TRUE(reader.ok());
  BatchSource source(std::move(reader).value(), {.rows_max = kRows, .entries_max = 4});
  for (int passes = 0; passes < 2; ++passes) {
    EXPECT_EQ(pass(source).size(), kExamples / 2) << "two entries an example";
    ASSERT_TRUE(source.rewind().ok());
  }
}

TEST(BatchSource, AnEmptyShareHasNoBatches) {
  const ScratchFiles files;
  auto source = open(files.write("train.svm", "# nothing\n"), SIZE_MAX);
  for (int passes = 0; passes < 3; ++passes) {
    EXPECT_TRUE(pass(source).empty());
    ASSERT_TRUE(source.rewind().ok());
  }
}

TEST(BatchSource, ErrorsOfTheFileAreTold) {
  const ScratchFiles files;
  const auto path = files.write("train.svm", "+1 1:1\n-1 1:x\n");
  auto source = open(path, SIZE_MAX);
  const auto batch = source.next();
  ASSERT_FALSE(batch.ok());
  EXPECT_NE(batch.error().message().find("train.svm:2"), std::string::npos);
}

}  // namespace
}  // namespace shoal::sparse_lr
