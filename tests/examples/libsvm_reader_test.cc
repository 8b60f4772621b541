#include "examples/sparse_lr/libsvm_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "core/base/random.h"
#include "tests/examples/scratch_files.h"

namespace shoal::sparse_lr {
namespace {

/// Lines of varied length; each example's only feature is its own number, so that it can be told.
std::string numbered_lines(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::string text;
  for (std::size_t i = 1; i <= count; ++i) {
    if (random.chance(0.05)) text += "# a comment\n\n";
    text += random.chance(0.5) ? "+1 " : "-1 ";
    text += std::to_string(i) + ":1";
    text.append(random.below(40), ' ');
    text += random.chance(0.3) ? "\r\n" : "\n";
  }
  if (random.chance(0.5)) text.pop_back();
  return text;
}

std::vector<Key> keys_of_share(const std::string& path, Share share, std::size_t rows) {
  auto reader = LibsvmReader::open(path, {}, share);
  EXPECT_TRUE(reader.ok());
  std::vector<Key> keys;
  for (CsrBatch batch;;) {
    EXPECT_TRUE(reader->read(batch, rows).ok());
    EXPECT_LE(batch.row_count(), rows);
    EXPECT_EQ(batch.row_ends.size(), batch.row_count());
    if (batch.empty()) return keys;
    keys.insert(keys.end(), batch.keys.begin(), batch.keys.end());
  }
}

void expect_partition(const std::string& path, std::size_t examples) {
  std::vector<Key> expected(examples);
  for (std::size_t i = 0; i < examples; ++i) expected[i] = i;
  for (const std::uint32_t workers : {1u, 2u, 3u, 4u, 7u, 50u}) {
    std::vector<Key> all;
    for (std::uint32_t i = 0; i < workers; ++i) {
      const auto keys = keys_of_share(path, {i, workers}, 13);
      EXPECT_TRUE(std::ranges::is_sorted(keys));
      all.insert(all.end(), keys.begin(), keys.end());
    }
    std::ranges::sort(all);
    EXPECT_EQ(all, expected) << path << " among " << workers;
  }
}

TEST(LibsvmReader, AFileThatChangesWhileItIsReadIsAnError) {
  const ScratchFiles files;
  const auto text = numbered_lines(100, 1);
  const auto path = files.write("train.svm", text);
  for (const bool shrinks : {true, false}) {
    files.write("train.svm", text);
    auto reader = LibsvmReader::open(path, {});
    ASSERT_TRUE(reader.ok());
    CsrBatch batch;
    ASSERT_TRUE(reader->read(batch, 1000).ok());
    EXPECT_EQ(batch.row_count(), 100u);
    ASSERT_TRUE(reader->rewind().ok());
    files.write("train.svm", shrinks ? text.substr(0, 500) : text + text);
    const auto status = reader->rewind();
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().what.find("train.svm was changed"), std::string::npos);
  }
}

TEST(LibsvmReader, SharesOfAPlainFileAreItsLinesOnceEach) {
  const ScratchFiles files;
  for (std::uint64_t seed = 1; seed <= 20; ++seed)
    for (const std::size_t examples : {1u, 2u, 5u, 300u})
      expect_partition(files.write("plain", numbered_lines(examples, seed)), examples);
}

TEST(LibsvmReader, SharesOfAGzipFileAreItsLinesOnceEach) {
  const ScratchFiles files;
  for (const std::size_t examples : {1u, 255u, 256u, 257u, 2000u})
    expect_partition(files.write_gzip("packed.gz", numbered_lines(examples, examples)), examples);
}

TEST(LibsvmReader, SharesAreOfSimilarSize) {
  const ScratchFiles files;
  const auto text = numbered_lines(8192, 3);
  for (const auto& path : {files.write("plain", text), files.write_gzip("packed", text)})
    for (std::uint32_t i = 0; i < 4; ++i) {
      const auto size = keys_of_share(path, {i, 4}, 1000).size();
      EXPECT_GT(size, 1700u) << path;
      EXPECT_LT(size, 2400u) << path;
    }
}

TEST(LibsvmReader, RewindBeginsTheShareAnew) {
  const ScratchFiles files;
  const auto text = numbered_lines(1000, 5);
  for (const auto& path : {files.write("plain", text), files.write_gzip("packed", text)})
    for (const auto& share : {Share{0, 1}, Share{0, 3}, Share{2, 3}}) {
      auto reader = LibsvmReader::open(path, {}, share).value();
      CsrBatch first, again;
      ASSERT_TRUE(reader.read(first, 10).ok());
      ASSERT_TRUE(reader.read(again, 1000).ok());
      ASSERT_TRUE(reader.rewind().ok());
      ASSERT_TRUE(reader.read(again, 10).ok());
      EXPECT_EQ(first.keys, again.keys);
      EXPECT_EQ(first.labels, again.labels);
    }
}

TEST(LibsvmReader, TheEndStaysTheEnd) {
  const ScratchFiles files;
  auto reader = LibsvmReader::open(files.write("x", numbered_lines(50, 1)), {}, {0, 2}).value();
  CsrBatch batch;
  ASSERT_TRUE(reader.read(batch, 1000).ok());
  EXPECT_FALSE(batch.empty());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(reader.read(batch, 1000).ok());
    EXPECT_TRUE(batch.empty());
  }
}

TEST(LibsvmReader, ABatchEndsAtEitherLimit) {
  const ScratchFiles files;
  auto reader =
      LibsvmReader::open(files.write("x", "1 1:1 2:1 3:1\n1 1:1 2:1\n-1 1:1\n"), {}).value();
  CsrBatch batch;
  ASSERT_TRUE(reader.read(batch, 100, 4).ok());
  EXPECT_EQ(batch.row_count(), 2u);
  EXPECT_EQ(batch.row_begin(0), 0u);
  EXPECT_EQ(batch.row_begin(1), 3u);
  ASSERT_TRUE(reader.read(batch, 100, 4).ok());
  EXPECT_EQ(batch.row_count(), 1u);
}

TEST(LibsvmReader, ErrorsNameFileAndLineInEveryShare) {
  const ScratchFiles files;
  std::string text;
  for (int i = 1; i <= 999; ++i) text += i == 900 ? "1 7:x\n" : "1 7:1\n";
  for (const auto& path : {files.write("plain", text), files.write_gzip("packed", text)}) {
    int found = 0;
    for (std::uint32_t i = 0; i < 3; ++i) {
      auto reader = LibsvmReader::open(path, {}, {i, 3}).value();
      CsrBatch batch;
      const auto status = reader.read(batch, 1000);
      if (status.ok()) continue;
      ++found;
      EXPECT_EQ(status.error().what,
                path +
                    ":900: expected a finite value, within a float's range, after the ':', "
                    "found 'x'");
    }
    EXPECT_EQ(found, 1);
  }
}

TEST(LibsvmReader, LinesLongerThanTheBufferAreRead) {
  const ScratchFiles files;
  std::string text = "1";
  for (std::size_t i = 1; text.size() < 3 * LineSource::kBufferBytes; ++i)
    text += ' ' + std::to_string(i) + ":1";
  const auto entries = static_cast<std::size_t>(std::ranges::count(text, ':'));
  auto reader = LibsvmReader::open(files.write("long", "-1 1:1\n" + text + "\n-1 1:1"), {}).value();
  CsrBatch batch;
  ASSERT_TRUE(reader.read(batch, 10).ok());
  EXPECT_EQ(batch.row_ends, (std::vector<std::uint32_t>{1, static_cast<std::uint32_t>(entries + 1),
                                                        static_cast<std::uint32_t>(entries + 2)}));
}

TEST(LibsvmReader, ALineWithoutEndIsRefused) {
  const ScratchFiles files;
  const auto path =
      files.write_gzip("endless", "1 1:1\n" + std::string(LineSource::kLineBytesMax + 1, ' '));
  auto reader = LibsvmReader::open(path, {}).value();
  CsrBatch batch;
  const auto status = reader.read(batch, 10);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().what,
            path + ":2: the line is longer than 64 MiB; is this a libsvm file?");
}

TEST(LibsvmReader, DamagedGzipIsAnError) {
  const ScratchFiles files;
  const auto whole = ScratchFiles::read(files.write_gzip("whole", numbered_lines(20000, 1)));
  const auto cut = files.write("cut", whole.substr(0, whole.size() / 2));
  auto damaged_bytes = whole;
  for (std::size_t i = 2000; i < 2100; ++i) damaged_bytes[i] = static_cast<char>(~damaged_bytes[i]);
  const auto damaged = files.write("damaged", damaged_bytes);
  for (const auto& [path, text] :
       {std::pair{cut, ": the gzip file is cut short"}, std::pair{damaged, ""}}) {
    auto reader = LibsvmReader::open(path, {}).value();
    CsrBatch batch;
    const auto status = reader.read(batch, 1 << 20);
    ASSERT_FALSE(status.ok()) << path;
    EXPECT_NE(status.error().what.find(path + text), std::string::npos) << status.error().what;
  }
}

TEST(LibsvmReader, PathsThatCannotBeRead) {
  const ScratchFiles files;
  const auto absent = LibsvmReader::open(files.path("absent"), {});
  EXPECT_EQ(absent.code(), Errc::io);
  EXPECT_NE(absent.error().message().find(files.path("absent")), std::string::npos);
  EXPECT_EQ(LibsvmReader::open(files.directory(), {}).code(), Errc::invalid_argument);
  EXPECT_EQ(LibsvmReader::open(files.write("x", "1 1:1\n"), {}, {2, 2}).code(),
            Errc::invalid_argument);
}

TEST(SummariseFile, FindsClassesExamplesAndFeatures) {
  const ScratchFiles files;
  const auto summary = summarise_file(files.write("x", "2 1:1\n#\n1 3:1 9:1\n2\n")).value();
  EXPECT_EQ(summary.classes, (Classes{1, 2}));
  EXPECT_EQ(summary.examples, 3u);
  EXPECT_EQ(summary.index_max, 9u);
}

TEST(SummariseFile, RefusesWhatCannotBeLearnt) {
  const ScratchFiles files;
  const auto message = [&](std::string_view text) {
    const auto summary = summarise_file(files.write("x", text));
    return summary.ok() ? std::string("ok") : summary.error().what;
  };
  const auto x = files.path("x");
  const auto none = x + ": expected libsvm lines ('label index:value ...'), found no example";
  EXPECT_EQ(message(""), none);
  EXPECT_EQ(message("\n# nothing\n\n"), none);
  EXPECT_EQ(message("1 1:1\n1 2:1\n"), x + ": expected two classes of labels, found only 1");
  EXPECT_EQ(message("1 1:1\n0 2:1\n\n3 1:1\n"),
            x + ":4: expected a label of the two classes 1 and 0, found a third: 3");
  EXPECT_EQ(message("1 1:1\n\"x\",1\n"), x + ":2: expected a label (a number), found '\"x\",1'");
}

TEST(SummariseFile, SharesMergeToTheWhole) {
  const ScratchFiles files;
  const auto text = numbered_lines(3000, 7);
  for (const auto& path : {files.write("plain", text), files.write_gzip("packed", text)}) {
    const auto whole = summarise_file(path).value();
    EXPECT_EQ(whole.share_examples_max, 3000u);
    std::vector<ShareSummary> shares;
    for (std::uint32_t i = 0; i < 5; ++i) shares.push_back(summarise_share(path, {i, 5}).value());
    const auto merged = merge_summaries(path, shares).value();
    EXPECT_EQ(merged.classes, whole.classes);
    EXPECT_EQ(merged.examples, 3000u);
    EXPECT_EQ(merged.index_max, 3000u);
    EXPECT_LT(merged.share_examples_max, 900u);
    EXPECT_GE(merged.share_examples_max, 600u);
  }
}

TEST(SummariseFile, ClassesThatOnlySharesTogetherShow) {
  const ScratchFiles files;
  const ShareSummary ones{.label_count = 1, .labels = {1, 0}, .examples = 4, .index_max = 2};
  const ShareSummary twos{.label_count = 1, .labels = {2, 0}, .examples = 3, .index_max = 9};
  const ShareSummary threes{.label_count = 1, .labels = {3, 0}, .examples = 1, .index_max = 1};
  const ShareSummary nothing;
  const ShareSummary good[] = {twos, nothing, ones};
  EXPECT_EQ(merge_summaries("f", good).value().classes, (Classes{1, 2}));
  const ShareSummary bad[] = {ones, twos, threes};
  EXPECT_EQ(merge_summaries("f", bad).error().what,
            "f: expected a label of the two classes 1 and 2, found a third: 3");
}

TEST(SummariseFile, EmptyGzip) {
  const ScratchFiles files;
  EXPECT_EQ(summarise_file(files.write_gzip("empty.gz", "")).code(), Errc::invalid_argument);
}

TEST(LibsvmReader, WhatFollowsGzipDataIsNotPassedOver) {
  const ScratchFiles files;
  const std::string lines = "1 1:1\n-1 2:1\n";
  const auto packed = ScratchFiles::read(files.write_gzip("a.gz", lines));
  // Members one after the other are one file, and zeros fill it up.
  for (const auto& content : {packed, packed + packed, packed + std::string(100000, '\0')}) {
    const auto path = files.write("good.gz", content);
    const auto summary = summarise_file(path);
    ASSERT_TRUE(summary.ok()) << summary.error().message();
    EXPECT_EQ(summary->examples, content.size() == 2 * packed.size() ? 4u : 2u);
  }
  for (const auto& junk :
       {std::string("1"), lines, std::string(100000, '\0') + "1", std::string(2, '\0') + packed}) {
    const auto path = files.write("bad.gz", packed + junk);
    const auto summary = summarise_file(path);
    ASSERT_EQ(summary.code(), Errc::corrupt);
    EXPECT_NE(summary.error().what.find(path + ": the gzip data ends at byte " +
                                        std::to_string(packed.size())),
              std::string::npos)
        << summary.error().what;
    EXPECT_EQ(check_examples(path, {.classes = {-1, 1}}).code(), Errc::corrupt);
  }
}

TEST(LibsvmReader, AFileWithoutExamplesIsFoundOut) {
  const ScratchFiles files;
  const LineRules rules{.classes = {-1, 1}};
  EXPECT_TRUE(check_examples(files.write("one", "# note\n\n1 1:1\n"), rules).ok());
  for (const auto* text : {"", "\n", "# note\n"}) {
    const auto path = files.write("none", text);
    const auto status = check_examples(path, rules);
    ASSERT_EQ(status.code(), Errc::invalid_argument);
    EXPECT_NE(status.error().what.find(path + ": expected libsvm lines"), std::string::npos);
  }
  EXPECT_EQ(check_examples(files.path("absent"), rules).code(), Errc::io);
}

}  // namespace
}  // namespace shoal::sparse_lr
