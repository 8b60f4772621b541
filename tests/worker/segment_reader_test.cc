#include "worker/engine/segment_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/base/random.h"

namespace shoal {
namespace {

using Value = std::uint64_t;
constexpr std::uint64_t kRowsPerSegment = 4;
constexpr std::uint64_t kDirectoryKey = 1000;  // and the slot's index

TableSpec spec_of(std::uint64_t rows) {
  TableSpec spec;
  spec.name = "t";
  spec.dtype = DType::i64;
  spec.rows = rows;
  spec.segment_bytes = kRowsPerSegment * sizeof(Value);
  return spec;
}

/// A server's memory as a device sees it: directories, and a few chunks in which segments move.
/// Every value of a segment is `segment << 32 | writes`.
class Memory {
 public:
  Memory(std::uint64_t rows, std::uint32_t slots)
      : geometry(spec_of(rows), slots),
        entries(geometry.segments()),
        writes(geometry.segments()),
        blocks(geometry.segments() * 2 * kRowsPerSegment, ~Value{0}) {
    for (std::uint64_t s = 0; s < geometry.segments(); ++s) {
      entries[s].key = 1;
      entries[s].address = s * kBlock;
      entries[s].bytes = geometry.rows_of(index(s)).size() * sizeof(Value);
      fill(s);
    }
    for (auto s = geometry.segments(); s < 2 * geometry.segments(); ++s)
      free_.push_back(s * kBlock);
  }

  static SegmentIndex index(std::uint64_t s) { return SegmentIndex(static_cast<std::uint32_t>(s)); }
  Value value(std::uint64_t s) const { return s << 32 | writes[s]; }
  void begin(std::uint64_t s) { ++entries[s].version; }
  void end(std::uint64_t s) { ++entries[s].version; }
  void fill(std::uint64_t s, std::uint64_t rows = kRowsPerSegment) {
    for (std::uint64_t i = 0; i < std::min(rows, entries[s].bytes / sizeof(Value)); ++i)
      blocks[entries[s].address / sizeof(Value) + i] = value(s);
  }
  /// A push as a whole.
  void push(std::uint64_t s) {
    begin(s);
    ++writes[s];
    fill(s);
    end(s);
  }
  /// Copy on write: what it leaves is another's at once.
  void move(std::uint64_t s) {
    begin(s);
    const auto from = entries[s].address;
    entries[s].address = free_.front();
    free_.pop_front();
    fill(s);
    end(s);
    std::fill_n(blocks.begin() + static_cast<std::ptrdiff_t>(from / sizeof(Value)), kRowsPerSegment,
                ~Value{0});
    free_.push_back(from);
  }

  /// READs a part of a span, as a device does whose memory changes meanwhile.
  bool read(const SegmentReader::Read& read, std::uint64_t from, std::uint64_t to) {
    const auto& span = read.from;
    const std::byte* source = nullptr;
    std::uint64_t size = 0;
    if (span.region >= kDirectoryKey) {
      const SlotIndex slot(static_cast<std::uint32_t>(span.region - kDirectoryKey));
      const auto first = geometry.first_segment(slot);
      source = reinterpret_cast<const std::byte*>(&entries[first]);
      size = (geometry.first_segment(SlotIndex(slot.value + 1)) - first) * sizeof(DirectoryEntry);
    } else {
      source = reinterpret_cast<const std::byte*>(blocks.data());
      size = blocks.size() * sizeof(Value);
    }
    if (span.address > size || span.bytes > size - span.address) return false;
    std::memcpy(read.to.data + from, source + span.address + from, to - from);
    return true;
  }

  static constexpr std::uint64_t kBlock = kRowsPerSegment * sizeof(Value);
  Geometry geometry;
  std::vector<DirectoryEntry> entries;
  std::vector<std::uint64_t> writes;
  std::vector<Value> blocks;

 private:
  std::deque<std::uint64_t> free_;
};

/// A reader of rows, whose READs the test lets happen.
class Pull {
 public:
  Pull(Memory& memory, RowRange rows) : memory_(memory), rows_(rows), out(rows.size(), kUntouched) {
    reader.start(*lines_, memory.geometry,
                 {reinterpret_cast<std::byte*>(out.data()), out.size() * sizeof(Value)});
    const auto& g = memory.geometry;
    for (std::uint32_t k = 0; k < g.slots(); ++k) {
      const SlotIndex slot(k);
      const auto piece = g.rows_of(slot).intersect(rows);
      if (piece.empty()) continue;
      Run run;
      run.slot = slot;
      run.part_count = g.part_count(piece);
      run.row_begin = piece.begin;
      run.row_count = piece.size();
      run.offset = (piece.begin - rows.begin) * sizeof(Value);
      const auto segments = g.first_segment(SlotIndex(k + 1)) - g.first_segment(slot);
      reader.add(run, {kDirectoryKey + k, 0, segments * sizeof(DirectoryEntry)});
    }
  }

  /// Takes what the reader wants now.
  std::vector<SegmentReader::Read> wanted() {
    std::vector<SegmentReader::Read> reads;
    for (SegmentReader::Read read; reader.next(read); reader.posted()) reads.push_back(read);
    return reads;
  }
  /// READ by READ; `between` before each and after the last.
  void run(const std::function<void()>& between = [] {}) {
    for (auto reads = wanted(); !reads.empty(); reads = wanted())
      for (const auto& read : reads) {
        between();
        reader.ended(memory_.read(read, 0, read.to.bytes) ? Errc::ok : Errc::revoked);
      }
    between();
    ASSERT_TRUE(reader.done());
  }
  /// Rows that are not left have come, each segment's of one moment.
  void check() {
    std::vector<bool> is_left(rows_.size(), false);
    for (const auto& run : reader.left()) {
      EXPECT_EQ(run.part_count,
                memory_.geometry.part_count({run.row_begin, run.row_begin + run.row_count}));
      EXPECT_EQ(run.offset, (run.row_begin - rows_.begin) * sizeof(Value));
      for (auto row = run.row_begin; row < run.row_begin + run.row_count; ++row) {
        ASSERT_FALSE(is_left[row - rows_.begin]) << "left twice";
        is_left[row - rows_.begin] = true;
      }
    }
    std::uint64_t here = 0;
    for (auto row = rows_.begin; row < rows_.end; ++row) {
      if (is_left[row - rows_.begin]) continue;
      ++here;
      const auto segment = row / kRowsPerSegment;
      const auto value = out[row - rows_.begin];
      ASSERT_EQ(value >> 32, segment) << "a foreign segment";
      ASSERT_LE(value, memory_.value(segment));
      const auto first = std::max(rows_.begin, segment * kRowsPerSegment);
      ASSERT_EQ(value, out[first - rows_.begin]) << "torn";
    }
    EXPECT_EQ(reader.rows_read(), here);
  }

 private:
  static constexpr Value kUntouched = 0xdead'beef'dead'beef;
  Memory& memory_;
  RowRange rows_;
  std::unique_ptr<SegmentReader::Lines> lines_ = std::make_unique<SegmentReader::Lines>();

 public:
  std::vector<Value> out;
  SegmentReader reader;
};

TEST(SegmentReader, ReadsRowsOfManySlotsWhole) {
  Memory memory(1000, 7);
  Pull pull(memory, {3, 998});
  pull.run();
  EXPECT_TRUE(pull.reader.left().empty());
  EXPECT_EQ(pull.reader.retries(), 0u);
  pull.check();
}

TEST(SegmentReader, WantsEachReadOnlyWhenTheOneBeforeHasCome) {
  Memory memory(8, 1);
  Pull pull(memory, {1, 7});
  auto reads = pull.wanted();
  ASSERT_EQ(reads.size(), 1u) << "the entries of both segments are neighbours";
  EXPECT_EQ(reads[0].from, (RemoteSpan{kDirectoryKey, 0, 128}));
  EXPECT_TRUE(pull.wanted().empty());
  ASSERT_TRUE(memory.read(reads[0], 0, 128));
  pull.reader.ended(Errc::ok);
  reads = pull.wanted();
  ASSERT_EQ(reads.size(), 2u);
  EXPECT_EQ(reads[0].from, (RemoteSpan{1, 8, 24}));
  EXPECT_EQ(reads[1].from, (RemoteSpan{1, 32, 24}));
  pull.reader.ended(Errc::ok);
  EXPECT_TRUE(pull.wanted().empty()) << "bytes are still on their way";
  pull.reader.ended(Errc::ok);
  EXPECT_EQ(pull.wanted().size(), 1u);
}

TEST(SegmentReader, AnOddEntryIsReadAgainAndThenGivenUp) {
  Memory memory(12, 1);
  memory.begin(1);
  Pull pull(memory, {0, 12});
  pull.run();
  ASSERT_EQ(pull.reader.left().size(), 1u);
  EXPECT_EQ(pull.reader.left()[0].row_begin, 4u);
  EXPECT_EQ(pull.reader.left()[0].row_count, 4u);
  EXPECT_EQ(pull.reader.why(), Fallback::changing);
  EXPECT_EQ(pull.reader.retries(), SegmentReader::kTries - 1);
  pull.check();
}

TEST(SegmentReader, WhatHasNoPlaceIsLeftAtOnce) {
  Memory memory(12, 1);
  memory.entries[2].key = 0;
  Pull pull(memory, {0, 12});
  pull.run();
  ASSERT_EQ(pull.reader.left().size(), 1u);
  EXPECT_EQ(pull.reader.left()[0].row_begin, 8u);
  EXPECT_EQ(pull.reader.why(), Fallback::not_there);
  EXPECT_EQ(pull.reader.retries(), 0u);
  pull.check();
}

TEST(SegmentReader, ASegmentThatChangesAtEveryTryIsLeft) {
  Memory memory(4, 1);
  Pull pull(memory, {0, 4});
  pull.run([&] { memory.push(0); });
  EXPECT_EQ(pull.reader.why(), Fallback::changing);
  ASSERT_EQ(pull.reader.left().size(), 1u);
  pull.check();
}

TEST(SegmentReader, AReadThatFailsEndsIt) {
  Memory memory(1200, 3);
  Pull pull(memory, {0, 1200});
  pull.reader.ended((pull.wanted(), Errc::revoked));
  EXPECT_TRUE(pull.wanted().empty());
  for (; pull.reader.under_way() > 0;) pull.reader.ended(Errc::ok);
  EXPECT_TRUE(pull.reader.failed());
  EXPECT_EQ(pull.reader.why(), Fallback::broken);
  pull.check();
  EXPECT_EQ(pull.reader.rows_read(), 0u);
}

/// A request has room for some runs only.
TEST(SegmentReader, ManyHolesAreLeftAsAWhole) {
  Memory memory(4 * 2 * 2 * SegmentReader::kLeftMax, 1);
  for (std::size_t s = 0; s < memory.entries.size(); s += 2) memory.entries[s].key = 0;
  Pull pull(memory, {0, memory.geometry.rows()});
  pull.run();
  EXPECT_EQ(pull.reader.left().size(), 1u);
  pull.check();
}

/// Whatever happens to a segment before, between and in the midst of READs, in any order of those
/// that are under way at once.
TEST(SegmentReader, NeverTornAndNeverForeignWhateverHappensBetween) {
  std::uint64_t rows_read = 0, retries = 0, left = 0;
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    const auto rows = 1 + random.below(40);
    Memory memory(rows, static_cast<std::uint32_t>(
                            1 + random.below((rows + kRowsPerSegment - 1) / kRowsPerSegment)));
    std::optional<std::uint64_t> half_written;
    const auto happen = [&] {
      if (half_written && random.chance(0.6)) {
        memory.fill(*half_written);
        memory.end(*half_written);
        half_written.reset();
      }
      if (!random.chance(0.3)) return;
      const auto segment = random.below(memory.entries.size());
      if (segment == half_written) return;
      if (random.chance(0.4)) return memory.move(segment);
      if (half_written || random.chance(0.5)) return memory.push(segment);
      memory.begin(segment);
      ++memory.writes[segment];
      memory.fill(segment, random.below(kRowsPerSegment + 1));
      half_written = segment;
    };
    const auto begin = random.below(rows);
    Pull pull(memory, {begin, begin + 1 + random.below(rows - begin)});
    for (auto reads = pull.wanted(); !reads.empty(); reads = pull.wanted()) {
      for (std::size_t i = reads.size(); i > 1; --i)
        std::swap(reads[i - 1], reads[random.below(i)]);
      for (const auto& read : reads) {
        bool good = true;
        // Lines of 64 bytes are fetched whole, rows are not.
        const auto unit = read.from.region >= kDirectoryKey ? sizeof(DirectoryEntry) : 8;
        for (std::uint64_t at = 0; at < read.to.bytes; at += unit) {
          happen();
          good = memory.read(read, at, at + unit) && good;
        }
        pull.reader.ended(good ? Errc::ok : Errc::revoked);
      }
    }
    ASSERT_TRUE(pull.reader.done());
    ASSERT_FALSE(pull.reader.failed());
    if (half_written) memory.fill(*half_written);
    pull.check();
    if (HasFailure()) return;
    rows_read += pull.reader.rows_read();
    retries += pull.reader.retries();
    left += pull.reader.left().size();
  }
  EXPECT_GT(rows_read, 10'000u);
  EXPECT_GT(retries, 1'000u);
  EXPECT_GT(left, 0u);
}

}  // namespace
}  // namespace shoal
