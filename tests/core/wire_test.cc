#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/base/random.h"
#include "core/wire/codec.h"
#include "core/wire/frame.h"

// The bytes of the wire: a change of any of these is a new kWireVersion.

namespace shoal {
namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[std::to_integer<int>(byte) >> 4];
    text += kDigits[std::to_integer<int>(byte) & 15];
  }
  return text;
}

// --- Primitive codecs.

TEST(Codec, ValuesStandLittleEndianWithoutPadding) {
  std::array<std::byte, 64> buffer{};
  Writer writer(buffer);
  writer.put<std::uint8_t>(0x01);
  writer.put<std::uint16_t>(0x0203);
  writer.put<std::uint32_t>(0x04050607);
  writer.put<std::uint64_t>(0x08090a0b0c0d0e0f);
  writer.put(std::int32_t{-2});
  writer.put(1.0f);
  writer.put(TableId(0x11121314));
  writer.put_bool(true);
  writer.put_string("ab");
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(hex(writer.written()),
            "01"
            "0302"
            "07060504"
            "0f0e0d0c0b0a0908"
            "feffffff"
            "0000803f"
            "14131211"
            "01"
            "02000000"
            "6162");
  EXPECT_EQ(writer.size(), 34u);
}

TEST(Codec, WhatIsWrittenIsRead) {
  std::array<std::byte, 256> buffer{};
  Writer writer(buffer);
  const std::array raw = {std::byte{9}, std::byte{8}};
  writer.put(std::numeric_limits<std::uint64_t>::max());
  writer.put(WorkerClock(-5));
  writer.put(std::numeric_limits<double>::quiet_NaN());
  writer.put_bool(false);
  writer.put_string("");
  writer.put_string("weights");
  writer.put<std::uint16_t>(2);  // an enumerator
  writer.put<std::uint32_t>(2);  // a count
  writer.put_bytes(raw);
  writer.put_bytes({});
  ASSERT_TRUE(writer.ok());

  enum class Colour : std::uint16_t { red, green, blue };
  Reader reader(writer.written());
  EXPECT_EQ(reader.get<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(reader.get<WorkerClock>(), WorkerClock(-5));
  EXPECT_TRUE(std::isnan(reader.get<double>()));
  EXPECT_FALSE(reader.get_bool());
  EXPECT_EQ(reader.get_string(), "");
  EXPECT_EQ(reader.get_string(), "weights");
  EXPECT_EQ(reader.get_enum<Colour>(3), Colour::blue);
  EXPECT_EQ(reader.get_count(1), 2u);
  EXPECT_EQ(hex(reader.get_bytes(2)), "0908");
  EXPECT_EQ(reader.left(), 0u);
  EXPECT_TRUE(reader.finish("test").ok());
}

TEST(Codec, AFullWriterSaysSoAndNeverWritesBeyond) {
  std::array<std::byte, 10> buffer{};
  buffer.fill(std::byte{0xee});
  Writer writer(std::span<std::byte>(buffer).first(6));
  writer.put<std::uint32_t>(1);
  EXPECT_TRUE(writer.ok());
  writer.put<std::uint32_t>(2);
  EXPECT_FALSE(writer.ok());
  writer.put_string("longer than what is left");
  EXPECT_FALSE(writer.ok());
  EXPECT_LE(writer.size(), 6u);
  for (std::size_t i = 6; i < buffer.size(); ++i) EXPECT_EQ(buffer[i], std::byte{0xee});
}

TEST(Codec, PatchOverwritesAnEarlierValue) {
  std::array<std::byte, 16> buffer{};
  Writer writer(buffer);
  writer.put<std::uint8_t>(7);
  const auto at = writer.size();
  writer.put<std::uint32_t>(0);
  writer.put<std::uint8_t>(8);
  writer.patch<std::uint32_t>(at, 0x01020304);
  EXPECT_EQ(hex(writer.written()), "070403020108");
}

TEST(Codec, ReadingPastTheEndYieldsZerosAndIsRemembered) {
  const std::array bytes = {std::byte{1}, std::byte{2}, std::byte{3}};
  Reader reader(bytes);
  EXPECT_EQ(reader.get<std::uint16_t>(), 0x0201);
  EXPECT_EQ(reader.get<std::uint16_t>(), 0);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.get<std::uint8_t>(), 0) << "nothing is read after a failure";
  EXPECT_TRUE(reader.get_bytes(1).empty());
  EXPECT_EQ(reader.get_string(), "");
  EXPECT_EQ(reader.get_count(1), 0u);
  EXPECT_EQ(reader.finish("tick").code(), Errc::protocol);
  EXPECT_NE(reader.finish("tick").error().what.find("tick"), std::string::npos);
}

TEST(Codec, BytesLeftOverAreAnError) {
  const std::array bytes = {std::byte{1}, std::byte{2}};
  Reader reader(bytes);
  reader.get<std::uint8_t>();
  EXPECT_TRUE(reader.ok());
  EXPECT_EQ(reader.finish("tick").code(), Errc::protocol);
}

TEST(Codec, ValuesThatAreNotAllowedAreErrors) {
  enum class Colour : std::uint8_t { red, green };
  const std::array two = {std::byte{2}};
  Reader boolean(two);
  boolean.get_bool();
  EXPECT_FALSE(boolean.ok());
  Reader colour(two);
  EXPECT_EQ(colour.get_enum<Colour>(2), Colour::red);
  EXPECT_FALSE(colour.ok());
  Reader failed(two);
  failed.fail();
  EXPECT_EQ(failed.finish("x").code(), Errc::protocol);
}

TEST(Codec, ForgedLengthsReserveNothing) {
  std::array<std::byte, 12> bytes{};
  const std::uint32_t huge = 0xffffffff;
  std::memcpy(bytes.data(), &huge, sizeof huge);
  Reader string(bytes);
  EXPECT_EQ(string.get_string(std::numeric_limits<std::size_t>::max()), "");
  EXPECT_FALSE(string.ok());
  Reader limited(bytes);
  limited.get_string(16);
  EXPECT_FALSE(limited.ok());
  Reader count(bytes);
  EXPECT_EQ(count.get_count(0), 0u);
  EXPECT_FALSE(count.ok());
  // 8 bytes are left: two items of four, not three.
  for (const std::uint32_t n : {2u, 3u}) {
    std::memcpy(bytes.data(), &n, sizeof n);
    Reader reader(bytes);
    EXPECT_EQ(reader.get_count(4), n == 2 ? 2u : 0u);
    EXPECT_EQ(reader.ok(), n == 2);
  }
}

// --- Frames.

std::array<std::byte, 3> some_meta() { return {std::byte{0xaa}, std::byte{0xbb}, std::byte{0xcc}}; }

/// A header with every field set, sealed over some_meta().
FrameHeader full_header(FrameKind kind) {
  FrameHeader header;
  header.kind = kind;
  header.request = RequestId(0x1122334455667700u + static_cast<unsigned>(kind));
  header.epoch = Epoch{3, 0x0a0b0c0d}.packed();
  header.clock = WorkerClock(-2);
  header.table = TableId(0x01020304);
  header.flags = std::uint16_t{1} | frame_flag::kDelta | frame_flag::kPayloadWritten;
  header.status = static_cast<std::uint16_t>(Errc::refused);
  header.credits = 0x55;
  header.payload_bytes = 0x0123456789;
  seal(header, some_meta());
  return header;
}

std::array<std::byte, kFrameHeaderBytes> bytes_of(const FrameHeader& header) {
  std::array<std::byte, kFrameHeaderBytes> bytes;
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

const FrameLimits kAnyLength{.meta_bytes_max = ~0u, .payload_bytes_max = ~0ull};

struct Golden {
  FrameKind kind;
  const char* kind_and_request;  // bytes 6..15
  const char* checksum;          // bytes 56..63
};
const Golden kGolden[] = {
    {FrameKind::auth_challenge, "01000177665544332211", "e9da311e58d8cf86"},
    {FrameKind::auth_proof, "02000277665544332211", "e7e4bd79f7b82663"},
    {FrameKind::auth_accept, "03000377665544332211", "d56bb0362e7be6d3"},
    {FrameKind::bulk_write, "04000477665544332211", "779ee42bcc4958eb"},
    {FrameKind::bulk_read, "05000577665544332211", "57a08fde8cfa77e0"},
    {FrameKind::bulk_data, "06000677665544332211", "f86edb64a1ceb69c"},
    {FrameKind::bulk_refused, "07000777665544332211", "5571b4cdc8fd5fd0"},
    {FrameKind::path_offer, "08000877665544332211", "daab52d6eac7f692"},
    {FrameKind::path_begin, "09000977665544332211", "cd291759e24eabef"},
    {FrameKind::path_answer, "0a000a77665544332211", "37ac774796577d2e"},
    {FrameKind::path_try, "0b000b77665544332211", "7820f06ed542bbe7"},
    {FrameKind::path_use, "0c000c77665544332211", "1e5c9244dfcc176b"},
    {FrameKind::path_decline, "0d000d77665544332211", "0aebb61625e2e45e"},
    {FrameKind::region_key, "0e000e77665544332211", "b537523a782e62d3"},
    {FrameKind::region_gone, "0f000f77665544332211", "bc8d70f29ea43c3c"},
    {FrameKind::hello, "20002077665544332211", "c4811a963e00819e"},
    {FrameKind::welcome, "21002177665544332211", "a6a4f6684e2be7f7"},
    {FrameKind::credit, "22002277665544332211", "85983756924d4017"},
    {FrameKind::cancel, "23002377665544332211", "40ee0d55602ffa06"},
    {FrameKind::answer, "24002477665544332211", "0ee5ac4f682db1d5"},
    {FrameKind::push, "40004077665544332211", "5cf0f98ea11f9ec7"},
    {FrameKind::pull, "41004177665544332211", "d95301606f44a20e"},
    {FrameKind::call, "42004277665544332211", "2ecc928fb282e14f"},
    {FrameKind::scan, "43004377665544332211", "00e0641914631a56"},
    {FrameKind::directory, "44004477665544332211", "f149c3c2e985d379"},
    {FrameKind::join, "60006077665544332211", "2fdd3bf5bb064bd0"},
    {FrameKind::leave, "61006177665544332211", "302c2a5fcc37ff33"},
    {FrameKind::heartbeat, "62006277665544332211", "2d15d79e7b080235"},
    {FrameKind::tick, "63006377665544332211", "7c89fcfeb9ed315e"},
    {FrameKind::open_table, "64006477665544332211", "ef3472790193b35e"},
    {FrameKind::drop_table, "65006577665544332211", "eb225c75b0d320e4"},
    {FrameKind::set_parameter, "66006677665544332211", "de349aeb73f86ba5"},
    {FrameKind::barrier, "67006777665544332211", "5f5fb47e5f890933"},
    {FrameKind::get_view, "68006877665544332211", "ff9ca2ea407f12f0"},
    {FrameKind::report_lost, "69006977665544332211", "82b029a68c92ab96"},
    {FrameKind::status, "6a006a77665544332211", "8dba1ac45d9531c5"},
    {FrameKind::view, "6b006b77665544332211", "68c61fda886c4060"},
    {FrameKind::global_clock, "6c006c77665544332211", "9ac4dd94c761b3a2"},
    {FrameKind::straggler, "6d006d77665544332211", "5d5e43fa6591e5e0"},
};

TEST(Frame, GoldenBytesOfEveryKind) {
  for (const auto& golden : kGolden) {
    SCOPED_TRACE(static_cast<int>(golden.kind));
    const auto bytes = bytes_of(full_header(golden.kind));
    EXPECT_EQ(hex(bytes), std::string("53484c31"
                                      "0100") +
                              golden.kind_and_request +
                              "0d0c0b0a03000000"  // epoch: number, term
                              "feffffffffffffff"  // clock
                              "04030201"          // table
                              "8101"
                              "1100"                // flags, status
                              "03000000"            // meta_bytes
                              "55000000"            // credits
                              "8967452301000000" +  // payload_bytes
                              golden.checksum);
    const auto parsed = parse_header(bytes, kAnyLength);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message();
    EXPECT_EQ(std::memcmp(&*parsed, bytes.data(), sizeof bytes), 0);
    EXPECT_TRUE(verify(*parsed, some_meta()).ok());
  }
}

TEST(Frame, GoldenBytesOfAnEmptyFrame) {
  FrameHeader header;
  header.kind = FrameKind::heartbeat;
  seal(header, {});
  EXPECT_EQ(hex(bytes_of(header)),
            "53484c31010062000000000000000000000000000000000000000000000000000000000000000000000000"
            "000000000000000000000000005f94247078e97fd1");
}

TEST(Frame, ThereIsNoOtherKind) {
  std::size_t known = 0;
  for (unsigned kind = 0; kind <= 0xffff; ++kind) {
    FrameHeader header;
    header.kind = static_cast<FrameKind>(kind);
    const auto parsed = parse_header(bytes_of(header), {});
    known += parsed.ok() ? 1 : 0;
    EXPECT_TRUE(parsed.ok() || parsed.code() == Errc::protocol);
  }
  EXPECT_EQ(known, std::size(kGolden)) << "a kind without golden bytes";
}

TEST(Frame, MagicVersionAndLengthsAreChecked) {
  const auto parse = [](const FrameHeader& header) {
    return parse_header(bytes_of(header), {.meta_bytes_max = 100, .payload_bytes_max = 1000});
  };
  FrameHeader good;
  good.meta_bytes = 100;
  good.payload_bytes = 1000;
  EXPECT_TRUE(parse(good).ok());
  auto bad = good;
  bad.magic ^= 1;
  EXPECT_EQ(parse(bad).code(), Errc::protocol);
  bad = good;
  bad.version = kWireVersion + 1;
  EXPECT_EQ(parse(bad).code(), Errc::version);
  bad = good;
  bad.version = 0;
  EXPECT_EQ(parse(bad).code(), Errc::version);
  bad = good;
  bad.meta_bytes = 101;
  EXPECT_EQ(parse(bad).code(), Errc::protocol);
  bad = good;
  bad.payload_bytes = 1001;
  EXPECT_EQ(parse(bad).code(), Errc::protocol);
  bad.payload_bytes = ~0ull;
  EXPECT_EQ(parse(bad).code(), Errc::protocol);
}

TEST(Frame, TheChecksumCoversEveryBitOfHeaderAndMeta) {
  const auto header = full_header(FrameKind::push);
  const auto meta = some_meta();
  for (std::size_t bit = 0; bit < kFrameHeaderBytes * 8; ++bit) {
    auto bytes = bytes_of(header);
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    FrameHeader changed;
    std::memcpy(&changed, bytes.data(), sizeof changed);
    EXPECT_EQ(verify(changed, meta).code(), Errc::corrupt) << "bit " << bit;
  }
  for (std::size_t bit = 0; bit < meta.size() * 8; ++bit) {
    auto changed = meta;
    changed[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_EQ(verify(header, changed).code(), Errc::corrupt) << "bit " << bit;
  }
  EXPECT_EQ(verify(header, std::span(meta).first(2)).code(), Errc::corrupt);
  EXPECT_EQ(verify(header, {}).code(), Errc::corrupt);
}

TEST(Frame, SealingTwiceChangesNothing) {
  auto header = full_header(FrameKind::view);
  const auto first = header.checksum;
  seal(header, some_meta());
  EXPECT_EQ(header.checksum, first);
}

TEST(Frame, RandomBytesNeverParseAndVerify) {
  Random random(1);
  for (int i = 0; i < 100'000; ++i) {
    auto bytes = bytes_of(full_header(FrameKind::pull));
    for (auto changes = 1 + random.below(4); changes > 0; --changes)
      bytes[static_cast<std::size_t>(random.below(bytes.size()))] =
          static_cast<std::byte>(random.next());
    const auto parsed = parse_header(bytes, kAnyLength);
    if (!parsed.ok() || bytes == bytes_of(full_header(FrameKind::pull))) continue;
    EXPECT_EQ(verify(*parsed, some_meta()).code(), Errc::corrupt);
  }
}

TEST(Frame, EpochsArePackedInTheirOrder) {
  EXPECT_EQ((Epoch{1, 2}.packed()), 0x0000000100000002u);
  EXPECT_EQ(Epoch::unpacked(0x0000000100000002u), (Epoch{1, 2}));
  EXPECT_LT((Epoch{1, ~0u}.packed()), (Epoch{2, 0}.packed()));
}

}  // namespace
}  // namespace shoal
