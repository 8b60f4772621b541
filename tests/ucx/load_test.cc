#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "core/base/config.h"
#include "transport/ucx/ucx.h"
#include "transport/ucx/wire.h"

namespace shoal::ucx {
namespace {

TEST(UcxLoad, AMissingLibrarySaysWhatToInstall) {
  const auto api = load("libucp-of-nobody.so.0");
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.code(), Errc::unavailable);
  for (const auto* part : {"libucp-of-nobody.so.0", "1.12", "libucx0"})
    EXPECT_NE(api.error().what.find(part), std::string::npos) << api.error().what;
}

TEST(UcxLoad, AnotherLibraryIsNotTakenForIt) {
  const auto api = load("libc.so.6");
  ASSERT_FALSE(api.ok());
  EXPECT_NE(api.error().what.find("ucp_get_version"), std::string::npos) << api.error().what;
}

TEST(UcxLoad, AnOldOneIsRefusedByItsVersion) {
  const auto api = load(OLD_UCP);
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.code(), Errc::unavailable);
  for (const auto* part : {"1.11.2", "1.12 or newer"})
    EXPECT_NE(api.error().what.find(part), std::string::npos) << api.error().what;
}

TEST(UcxLoad, WhatItCannotUseIsSaid) {
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  SteadyClock clock;
  const auto fabric = create_fabric(*api, {.transports = "nonsense"}, clock);
  ASSERT_FALSE(fabric.ok());
  EXPECT_EQ(fabric.code(), Errc::unavailable);
  EXPECT_NE(fabric.error().message().find("UCX_TLS"), std::string::npos);
}

TEST(UcxLoad, DescribesOrSaysWhyNot) {
  const auto lines = describe(Config{});
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find(load().ok() ? "moves host memory" : "1.12 or newer"), std::string::npos)
      << lines[0];
}

/// As they travel.
TEST(UcxWire, PacketsAndCardsAreLittleEndianWithoutHoles) {
  const Packet packet{.secret = 0x0807060504030201,
                      .sequence = 0x0c0b0a09,
                      .kind = PacketKind::refuse,
                      .lane = Lane::bulk,
                      .region = 0x1817161514131211,
                      .offset = 0x201f1e1d1c1b1a19,
                      .bytes = 0x2827262524232221,
                      .read = 0x302f2e2d2c2b2a29};
  std::array<unsigned char, sizeof packet> bytes;
  std::memcpy(bytes.data(), &packet, sizeof packet);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const unsigned expected = i == 12              ? 5
                              : i == 13            ? 1
                              : i == 14 || i == 15 ? 0
                                                   : static_cast<unsigned>(i) + 1;
    EXPECT_EQ(bytes[i], expected) << i;
  }
  const LinkCard card{.secret = 0x100f0e0d0c0b0a09};
  std::array<unsigned char, sizeof card> of_card;
  std::memcpy(of_card.data(), &card, sizeof card);
  EXPECT_EQ(of_card[0], kWireVersion);
  for (std::size_t i = 8; i < of_card.size(); ++i) EXPECT_EQ(of_card[i], i + 1) << i;
}

}  // namespace
}  // namespace shoal::ucx
