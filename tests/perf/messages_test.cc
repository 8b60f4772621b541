#include "perf/messages.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace shoal::perf {
namespace {

std::vector<std::byte> encoded(const Begin& begin) {
  std::vector<std::byte> bytes(kMetaMax);
  Writer out(bytes);
  encode(out, begin);
  EXPECT_TRUE(out.ok());
  bytes.resize(out.size());
  return bytes;
}

TEST(PerfMessages, BeginComesBackAsItWas) {
  const Begin begin{Op::write, Wait::block, true, false, 4096, 7, {1, 2, 3}};
  const auto decoded = decode_begin(encoded(begin));
  ASSERT_TRUE(decoded.ok()) << decoded.error().message();
  EXPECT_EQ(decoded->op, Op::write);
  EXPECT_EQ(decoded->wait, Wait::block);
  EXPECT_TRUE(decoded->echo);
  EXPECT_FALSE(decoded->check);
  EXPECT_EQ(decoded->bytes, 4096u);
  EXPECT_EQ(decoded->inflight, 7u);
  EXPECT_EQ(decoded->memory, (RemoteSpan{1, 2, 3}));
}

TEST(PerfMessages, BoundsAreChecked) {
  Begin begin;
  for (const auto& [bytes, inflight, op] : {std::tuple{0u, 1u, Op::send},
                                            {(1u << 20) + 1, 1u, Op::send},
                                            {8u, 0u, Op::read},
                                            {8u, kInflightMax + 1, Op::read},
                                            {(1u << 30) + 1, 1u, Op::write},
                                            {8u, 1u, Op::pull}}) {
    begin.bytes = bytes;
    begin.inflight = inflight;
    begin.op = op;
    EXPECT_EQ(decode_begin(encoded(begin)).code(), Errc::invalid_argument)
        << bytes << " " << inflight;
  }
}

TEST(PerfMessages, EveryTruncationIsMalformed) {
  auto bytes = encoded({});
  while (!bytes.empty()) {
    bytes.pop_back();
    EXPECT_EQ(decode_begin(bytes).code(), Errc::protocol) << bytes.size();
  }
}

TEST(PerfMessages, PatternsDifferByBufferAndPlace) {
  std::array<std::byte, 37> a, b;
  fill_pattern(a, 1);
  fill_pattern(b, 2);
  EXPECT_NE(a, b);
  EXPECT_TRUE(has_pattern(a, 1));
  EXPECT_FALSE(has_pattern(a, 2));
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] ^= std::byte{1};
    EXPECT_FALSE(has_pattern(a, 1)) << i;
    a[i] ^= std::byte{1};
  }
}

}  // namespace
}  // namespace shoal::perf
