#include "transport/auth.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string_view>

namespace shoal {
namespace {

using Side = Authenticator::Role;

Token token_of(std::string_view text) {
  return Token::create(std::as_bytes(std::span(text))).value();
}

Nonce nonce_of(std::uint8_t value) {
  Nonce nonce;
  nonce.fill(std::byte{value});
  return nonce;
}

AuthBinding binding_of(std::uint8_t value) {
  AuthBinding binding;
  binding.fill(std::byte{value});
  return binding;
}

std::vector<std::byte> take(Authenticator& from) {
  const auto bytes = from.outgoing();
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  from.sent(copy.size());
  return copy;
}

/// Feeds as much as is wanted, in pieces of at most `piece`.
Status feed(Authenticator& to, std::span<const std::byte> bytes, std::size_t piece = 1000) {
  while (!bytes.empty() && to.wanted() > 0) {
    const auto n = std::min({bytes.size(), to.wanted(), piece});
    SHOAL_TRY(to.feed(bytes.first(n)));
    bytes = bytes.subspan(n);
  }
  return {};
}

struct Handshake {
  explicit Handshake(std::string_view connectors = "secret", std::string_view acceptors = "secret")
      : connector_token(token_of(connectors)), acceptor_token(token_of(acceptors)) {}
  Token connector_token;
  Token acceptor_token;
  Authenticator connector{Side::connector, connector_token, nonce_of(1), binding_of(2)};
  Authenticator acceptor{Side::acceptor, acceptor_token, nonce_of(3), binding_of(4)};
};

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    text += kDigits[std::to_integer<std::size_t>(byte) >> 4];
    text += kDigits[std::to_integer<std::size_t>(byte) & 15];
  }
  return text;
}

TEST(Auth, BothSidesEndWithTheOthersBinding) {
  for (const std::size_t piece : {1u, 7u, 64u, 1000u}) {
    Handshake h;
    ASSERT_TRUE(feed(h.connector, take(h.acceptor), piece).ok());
    ASSERT_TRUE(feed(h.acceptor, take(h.connector), piece).ok());
    EXPECT_TRUE(h.acceptor.done());
    EXPECT_FALSE(h.connector.done());
    ASSERT_TRUE(feed(h.connector, take(h.acceptor), piece).ok());
    EXPECT_TRUE(h.connector.done());
    EXPECT_EQ(h.connector.peer_binding(), binding_of(4));
    EXPECT_EQ(h.acceptor.peer_binding(), binding_of(2));
    EXPECT_EQ(h.connector.wanted() + h.acceptor.wanted(), 0u) << "what follows is the stream's";
    EXPECT_TRUE(h.connector.outgoing().empty());
  }
}

// HMAC-SHA256 of label, nonces and bindings, computed apart with Python's hmac module.
TEST(Auth, ProofsHaveTheirGoldenBytes) {
  Handshake h;
  ASSERT_TRUE(feed(h.connector, take(h.acceptor)).ok());
  const auto proof = take(h.connector);
  ASSERT_EQ(proof.size(), kFrameHeaderBytes + 96);
  EXPECT_EQ(hex(std::span(proof).last(kMacBytes)),
            "b4caad9324657010712c63710ac59f7c21fb77d44cc4aca37e8181037d43a728");
  ASSERT_TRUE(feed(h.acceptor, proof).ok());
  const auto accept = take(h.acceptor);
  ASSERT_EQ(accept.size(), kFrameHeaderBytes + 64);
  EXPECT_EQ(hex(std::span(accept).last(kMacBytes)),
            "68976888fe9de1109144218ac4f85190eba32bc23d99e856ee6d7b8b6d5b2ed2");
}

TEST(Auth, AnEmptyTokenIsNone) { EXPECT_EQ(Token::create({}).code(), Errc::invalid_argument); }

TEST(Auth, AWrongTokenIsRefusedAndBothLearnIt) {
  Handshake h("secret", "Secret");
  ASSERT_TRUE(feed(h.connector, take(h.acceptor)).ok());
  EXPECT_EQ(feed(h.acceptor, take(h.connector)).code(), Errc::untrusted);
  EXPECT_FALSE(h.acceptor.done());
  const auto farewell = take(h.acceptor);
  ASSERT_EQ(farewell.size(), kFrameHeaderBytes) << "a refusal holds no MAC";
  EXPECT_EQ(feed(h.connector, farewell).code(), Errc::untrusted);
  EXPECT_FALSE(h.connector.done());
}

// To a node that wants to join a refusal is final: who has not seen its proof cannot give one.
TEST(Auth, ARefusalCountsOnlyWholeAndBehindTheProof) {
  FrameHeader header;
  header.kind = FrameKind::auth_challenge;
  header.status = static_cast<std::uint16_t>(Errc::refused);
  seal(header, {});
  Handshake early;
  EXPECT_EQ(feed(early.connector, std::as_bytes(std::span(&header, 1))).code(), Errc::protocol);

  Handshake damaged("secret", "Secret");
  ASSERT_TRUE(feed(damaged.connector, take(damaged.acceptor)).ok());
  EXPECT_FALSE(feed(damaged.acceptor, take(damaged.connector)).ok());
  auto farewell = take(damaged.acceptor);
  farewell[offsetof(FrameHeader, checksum)] ^= std::byte{1};
  EXPECT_EQ(feed(damaged.connector, farewell).code(), Errc::corrupt);
}

TEST(Auth, AnAcceptorWithoutTheTokenIsRefused) {
  Handshake h, other("guess", "guess");
  ASSERT_TRUE(feed(h.connector, take(h.acceptor)).ok());
  take(h.connector);
  // The impostor accepts any proof; it cannot make its own.
  ASSERT_TRUE(feed(other.connector, take(other.acceptor)).ok());
  ASSERT_TRUE(feed(other.acceptor, take(other.connector)).ok());
  EXPECT_EQ(feed(h.connector, take(other.acceptor)).code(), Errc::untrusted);
}

// An impostor with one connection in each direction to an honest process sends back what it hears.
TEST(Auth, AReflectedProofIsWrong) {
  const auto token = token_of("secret");
  Authenticator acceptor(Side::acceptor, token, nonce_of(3), binding_of(2));
  Authenticator connector(Side::connector, token, nonce_of(3), binding_of(2));
  const auto challenge = take(acceptor);
  ASSERT_TRUE(feed(connector, challenge).ok());
  const auto proof = take(connector);
  // The same nonces and bindings on both sides: only the label tells the roles apart.
  std::vector<std::byte> reflected(kFrameHeaderBytes + 64);
  FrameHeader header;
  header.kind = FrameKind::auth_accept;
  const auto meta = std::span(proof).last(64);
  seal(header, meta);
  std::memcpy(reflected.data(), &header, sizeof header);
  std::memcpy(reflected.data() + sizeof header, meta.data(), meta.size());
  EXPECT_EQ(feed(connector, reflected).code(), Errc::untrusted);
}

TEST(Auth, AReplayedProofIsWrongForAnotherChallenge) {
  Handshake h;
  ASSERT_TRUE(feed(h.connector, take(h.acceptor)).ok());
  const auto proof = take(h.connector);
  Authenticator later(Side::acceptor, h.acceptor_token, nonce_of(9), binding_of(4));
  EXPECT_EQ(feed(later, proof).code(), Errc::untrusted);
}

TEST(Auth, EveryFlippedBitIsFound) {
  for (std::size_t step = 0; step < 3; ++step) {
    for (std::size_t bit = 0;; ++bit) {
      Handshake h;
      auto frame = take(h.acceptor);
      auto* to = &h.connector;
      if (step >= 1) {
        ASSERT_TRUE(feed(h.connector, frame).ok());
        frame = take(h.connector);
        to = &h.acceptor;
      }
      if (step == 2) {
        ASSERT_TRUE(feed(h.acceptor, frame).ok());
        frame = take(h.acceptor);
        to = &h.connector;
      }
      if (bit == frame.size() * 8) break;
      frame[bit / 8] ^= std::byte{1} << (bit % 8);
      ASSERT_FALSE(feed(*to, frame).ok()) << "step " << step << " bit " << bit;
    }
  }
}

TEST(Auth, AForeignProtocolIsKnownByItsFirstBytes) {
  Handshake h;
  const std::string_view http = "GET / HTTP/1.1\r\n";
  EXPECT_EQ(feed(h.acceptor, std::as_bytes(std::span(http.substr(0, 1)))).code(), Errc::protocol);
}

TEST(Auth, AnotherVersionIsToldToBoth) {
  Handshake h;
  auto challenge = take(h.acceptor);
  const std::uint16_t other = kWireVersion + 1;
  std::memcpy(challenge.data() + offsetof(FrameHeader, version), &other, sizeof other);
  EXPECT_EQ(feed(h.connector, challenge).code(), Errc::version);
  auto farewell = take(h.connector);
  ASSERT_EQ(farewell.size(), kFrameHeaderBytes);
  // As the acceptor of the other version sees it: a version that is not its own.
  std::memcpy(farewell.data() + offsetof(FrameHeader, version), &other, sizeof other);
  EXPECT_EQ(feed(h.acceptor, farewell).code(), Errc::version);
}

TEST(Auth, NoncesDiffer) { EXPECT_NE(fresh_nonce(), fresh_nonce()); }

}  // namespace
}  // namespace shoal
