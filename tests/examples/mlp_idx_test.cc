#include <gtest/gtest.h>

#include <string>

#include "examples/mlp_cuda/dataset.h"
#include "examples/mlp_cuda/idx.h"
#include "tests/examples/scratch_files.h"

namespace shoal::mlp {
namespace {

using sparse_lr::ScratchFiles;

std::string big_endian_text(std::uint32_t number) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(number >> shift & 0xff);
  return text;
}

/// An IDX file of unsigned bytes.
std::string idx_text(const std::vector<std::uint32_t>& sizes, const std::string& values) {
  auto text = big_endian_text(0x0800u | static_cast<std::uint32_t>(sizes.size()));
  for (const auto size : sizes) text += big_endian_text(size);
  return text + values;
}

Result<Idx> parse_text(const std::string& text, std::uint8_t dimensions) {
  return parse_idx({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, dimensions);
}

void expect_corrupt(const Result<Idx>& result, const std::string& complaint) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.code(), Errc::corrupt);
  EXPECT_NE(result.error().what.find(complaint), std::string::npos) << result.error().what;
}

TEST(MlpIdx, SizesAndValues) {
  const auto idx = parse_text(idx_text({2, 1, 3}, "abcdef"), 3);
  ASSERT_TRUE(idx.ok()) << idx.error().message();
  EXPECT_EQ(idx->sizes, (std::vector<std::uint32_t>{2, 1, 3}));
  EXPECT_EQ(std::string(idx->values.begin(), idx->values.end()), "abcdef");
}

TEST(MlpIdx, WhateverItIsCutToIsRefused) {
  const auto whole = idx_text({2, 1, 3}, "abcdef");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto idx = parse_text(whole.substr(0, length), 3);
    ASSERT_FALSE(idx.ok()) << length;
    EXPECT_EQ(idx.code(), Errc::corrupt) << length;
  }
}

TEST(MlpIdx, WhatWasExpectedIsSaid) {
  expect_corrupt(parse_text("abc", 1), "found 3 bytes");
  expect_corrupt(parse_text("<html>...", 1), "begins with 00000801, found 3c68746d");
  expect_corrupt(parse_text(idx_text({2, 3}, "abcdef"), 1), "found 00000802");
  expect_corrupt(parse_text(idx_text({2}, "abc"), 1),
                 "expected 2 bytes after the IDX header, found 3");
  expect_corrupt(parse_text(idx_text({2, 3}, "abcde"), 2), "expected 6 bytes");
  expect_corrupt(parse_text(idx_text({0xffffffff, 0xffffffff, 0xffffffff}, ""), 3), "1024 MiB");
  expect_corrupt(parse_text(idx_text({2, 3}, "").substr(0, 8), 2), "header of 12 bytes");
}

TEST(MlpIdx, FilesPlainAndPacked) {
  const ScratchFiles files;
  const auto text = idx_text({3}, "xyz");
  for (const auto& path : {files.write("plain", text), files.write_gzip("packed.gz", text)}) {
    const auto idx = read_idx(path, 1);
    ASSERT_TRUE(idx.ok()) << idx.error().message();
    EXPECT_EQ(idx->values.size(), 3u);
  }
}

TEST(MlpIdx, DamagedFilesAreNamed) {
  const ScratchFiles files;
  const auto packed = ScratchFiles::read(files.write_gzip("ok.gz", idx_text({5}, "hello")));
  const auto cut = files.write("cut.gz", packed.substr(0, packed.size() - 3));
  expect_corrupt(read_idx(cut, 1), cut + ": the gzip file is cut short");
  auto garbled = packed;
  garbled[garbled.size() - 6] ^= 1;  // the checksum
  const auto damaged = files.write("damaged.gz", garbled);
  expect_corrupt(read_idx(damaged, 1), damaged + ": the gzip file is damaged");
  EXPECT_EQ(read_idx(files.path("none"), 1).code(), Errc::io);
}

/// The four files of a data set with two images to learn from and one held out.
void write_dataset(const ScratchFiles& files) {
  files.write_gzip("train-images-idx3-ubyte.gz", idx_text({2, 1, 2}, "abcd"));
  files.write_gzip("train-labels-idx1-ubyte.gz", idx_text({2}, std::string("\x03\x09", 2)));
  files.write("t10k-images-idx3-ubyte", idx_text({1, 2, 1}, "ef"));
  files.write("t10k-labels-idx1-ubyte", idx_text({1}, std::string("\0", 1)));
}

TEST(MlpDataset, FourFiles) {
  const ScratchFiles files;
  write_dataset(files);
  const auto dataset = load_dataset(files.directory());
  ASSERT_TRUE(dataset.ok()) << dataset.error().message();
  EXPECT_EQ(dataset->train.count(), 2u);
  EXPECT_EQ(dataset->train.pixels, 2u);
  EXPECT_EQ(dataset->train.classes, (std::vector<std::uint8_t>{3, 9}));
  EXPECT_EQ(dataset->test.values, (std::vector<std::uint8_t>{'e', 'f'}));
}

TEST(MlpDataset, MissingFilesNameThePackage) {
  const ScratchFiles files;
  const auto dataset = load_dataset(files.directory());
  ASSERT_FALSE(dataset.ok());
  EXPECT_EQ(dataset.code(), Errc::io);
  EXPECT_NE(dataset.error().what.find("train-images-idx3-ubyte.gz"), std::string::npos);
  EXPECT_NE(dataset.error().what.find("apt-get install dataset-fashion-mnist"), std::string::npos);
}

TEST(MlpDataset, WhatDoesNotBelongTogether) {
  const ScratchFiles files;
  const auto load_with = [&files](const std::string& name, const std::string& text) {
    write_dataset(files);
    files.write_gzip(name, text);
    const auto dataset = load_dataset(files.directory());
    return dataset.ok() ? std::string() : dataset.error().what;
  };
  EXPECT_NE(load_with("train-labels-idx1-ubyte.gz", idx_text({3}, std::string(3, '\1')))
                .find("2 images and"),
            std::string::npos);
  EXPECT_NE(load_with("train-labels-idx1-ubyte.gz", idx_text({2}, "\x01\x0a"))
                .find("expected labels from 0 to 9, found 10"),
            std::string::npos);
  EXPECT_NE(load_with("train-images-idx3-ubyte.gz", idx_text({2, 1, 3}, "abcdef"))
                .find("have 3 pixels, those held out 2"),
            std::string::npos);
}

}  // namespace
}  // namespace shoal::mlp
