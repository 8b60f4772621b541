#include "transport/auth.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "core/wire/codec.h"

namespace shoal {

namespace {

constexpr FrameLimits kAuthLimits{.meta_bytes_max = kNonceBytes + kAuthBindingBytes + kMacBytes,
                                  .payload_bytes_max = 0};

// 32 bytes each, so that the MAC's input has one layout and no two inputs share a prefix.
constexpr std::size_t kLabelBytes = 32;
constexpr char kConnectorLabel[kLabelBytes + 1] = "shoal auth 1 connector's proof..";
constexpr char kAcceptorLabel[kLabelBytes + 1] = "shoal auth 1 acceptor's proof...";

}  // namespace

void fill_random(std::span<std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const auto n = ::getrandom(bytes.data(), bytes.size(), 0);
    SHOAL_ASSERT(n > 0 || errno == EINTR, "getrandom failed: no randomness for authentication");
    if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

Nonce fresh_nonce() noexcept {
  Nonce nonce;
  fill_random(nonce);
  return nonce;
}

Result<Token> Token::create(std::span<const std::byte> bytes) {
  if (bytes.empty())
    return Error{Errc::invalid_argument,
                 "the cluster's token is empty: give every process the same secret bytes"};
  return Token(bytes);
}

Token::~Token() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

Authenticator::Authenticator(Role role, const Token& token, const Nonce& nonce,
                             const AuthBinding& binding)
    : token_(&token), role_(role), own_binding_(binding) {
  if (role == Role::acceptor) {
    acceptor_nonce_ = nonce;
    challenge();
  } else {
    connector_nonce_ = nonce;
  }
}

FrameKind Authenticator::expected() const {
  if (role_ == Role::acceptor) return FrameKind::auth_proof;
  return out_end_ == 0 ? FrameKind::auth_challenge : FrameKind::auth_accept;
}

std::size_t Authenticator::expected_meta() const {
  switch (expected()) {
    case FrameKind::auth_challenge:
      return kNonceBytes;
    case FrameKind::auth_proof:
      return kNonceBytes + kAuthBindingBytes + kMacBytes;
    default:
      return kAuthBindingBytes + kMacBytes;
  }
}

Status Authenticator::feed(std::span<const std::byte> bytes) {
  SHOAL_ASSERT(bytes.size() <= wanted(), "more bytes than the handshake asked for");
  if (bytes.empty()) return {};
  std::memcpy(in_.data() + in_bytes_, bytes.data(), bytes.size());
  in_bytes_ = static_cast<std::uint16_t>(in_bytes_ + bytes.size());
  if (!have_header_) SHOAL_TRY(on_prefix());
  if (in_bytes_ < need_) return {};
  if (!have_header_) SHOAL_TRY(on_header());
  if (in_bytes_ < need_) return {};
  return on_frame();
}

// A browser or a port scanner is known by its first bytes: no need to hold its connection until it
// has sent 64 of them.
Status Authenticator::on_prefix() {
  const auto seen = std::min<std::size_t>(in_bytes_, sizeof kFrameMagic);
  if (std::memcmp(in_.data(), &kFrameMagic, seen) != 0)
    return fail({Errc::protocol, "the peer is not a Shoal process"});
  return {};
}

Status Authenticator::on_header() {
  auto parsed = parse_header(std::span(in_).first<kFrameHeaderBytes>(), kAuthLimits);
  if (!parsed.ok()) {
    // A connector of another version answers the challenge with its bare header: its version field
    // tells the acceptor, as the challenge's told us.
    if (parsed.code() == Errc::version && role_ == Role::connector && out_end_ == 0)
      farewell(FrameKind::auth_proof, Errc::version);
    return fail(std::move(parsed).error());
  }
  const auto& header = *parsed;
  have_header_ = true;
  if (header.kind != expected())
    return fail({Errc::protocol, "the peer sent something else than its part of the handshake"});
  if (header.kind == FrameKind::auth_accept && static_cast<Errc>(header.status) == Errc::refused)
    return on_farewell(header);
  if (header.meta_bytes != expected_meta())
    return fail({Errc::protocol, "a handshake frame has the wrong length"});
  need_ = static_cast<std::uint16_t>(kFrameHeaderBytes + header.meta_bytes);
  return {};
}

// Final for a node that wants to join, so only whoever has seen our proof may say it, in a frame
// that arrived whole.
Status Authenticator::on_farewell(const FrameHeader& header) {
  if (header.meta_bytes != 0)
    return fail({Errc::protocol, "a handshake frame has the wrong length"});
  if (auto status = verify(header, {}); !status.ok()) return fail(std::move(status).error());
  return fail({Errc::untrusted, "the peer refused this process's token: both need the same one"});
}

Status Authenticator::on_frame() {
  const auto meta = std::span<const std::byte>(in_).subspan(kFrameHeaderBytes, expected_meta());
  FrameHeader header;
  std::memcpy(&header, in_.data(), sizeof header);
  if (auto status = verify(header, meta); !status.ok()) return fail(std::move(status).error());
  const auto kind = header.kind;
  have_header_ = false;
  need_ = kFrameHeaderBytes;
  in_bytes_ = 0;
  if (kind == FrameKind::auth_proof) return on_proof(meta);
  if (kind == FrameKind::auth_accept) return on_accept(meta);
  std::memcpy(acceptor_nonce_.data(), meta.data(), kNonceBytes);
  prove();
  return {};
}

Status Authenticator::on_proof(std::span<const std::byte> meta) {
  std::memcpy(connector_nonce_.data(), meta.data(), kNonceBytes);
  std::memcpy(peer_binding_.data(), meta.data() + kNonceBytes, kAuthBindingBytes);
  const auto wanted_mac = mac(Role::connector);
  const auto* got = meta.data() + kNonceBytes + kAuthBindingBytes;
  if (CRYPTO_memcmp(wanted_mac.data(), got, kMacBytes) != 0) {
    farewell(FrameKind::auth_accept, Errc::refused);
    return fail({Errc::untrusted, "a peer does not know the cluster's token"});
  }
  accept();
  done_ = true;
  return {};
}

Status Authenticator::on_accept(std::span<const std::byte> meta) {
  std::memcpy(peer_binding_.data(), meta.data(), kAuthBindingBytes);
  const auto wanted_mac = mac(Role::acceptor);
  if (CRYPTO_memcmp(wanted_mac.data(), meta.data() + kAuthBindingBytes, kMacBytes) != 0)
    return fail({Errc::untrusted, "the peer does not know the cluster's token"});
  done_ = true;
  return {};
}

void Authenticator::challenge() { emit(FrameKind::auth_challenge, Errc::ok, acceptor_nonce_); }

void Authenticator::prove() {
  std::array<std::byte, kNonceBytes + kAuthBindingBytes + kMacBytes> meta;
  Writer writer(meta);
  writer.put_bytes(connector_nonce_);
  writer.put_bytes(own_binding_);
  writer.put_bytes(mac(Role::connector));
  emit(FrameKind::auth_proof, Errc::ok, meta);
}

void Authenticator::accept() {
  std::array<std::byte, kAuthBindingBytes + kMacBytes> meta;
  Writer writer(meta);
  writer.put_bytes(own_binding_);
  writer.put_bytes(mac(Role::acceptor));
  emit(FrameKind::auth_accept, Errc::ok, meta);
}

void Authenticator::farewell(FrameKind kind, Errc status) { emit(kind, status, {}); }

void Authenticator::emit(FrameKind kind, Errc status, std::span<const std::byte> meta) {
  FrameHeader header;
  header.kind = kind;
  header.status = static_cast<std::uint16_t>(status);
  seal(header, meta);
  std::memcpy(frame_.data(), &header, sizeof header);
  if (!meta.empty()) std::memcpy(frame_.data() + sizeof header, meta.data(), meta.size());
  out_begin_ = 0;
  out_end_ = static_cast<std::uint16_t>(sizeof header + meta.size());
}

Mac Authenticator::mac(Role by) const {
  const auto& connectors = role_ == Role::connector ? own_binding_ : peer_binding_;
  const auto& acceptors = role_ == Role::acceptor ? own_binding_ : peer_binding_;
  std::array<std::byte, kLabelBytes + 2 * kNonceBytes + 2 * kAuthBindingBytes> text;
  Writer writer(text);
  const auto* label = by == Role::connector ? kConnectorLabel : kAcceptorLabel;
  writer.put_bytes(std::as_bytes(std::span(label, kLabelBytes)));
  writer.put_bytes(acceptor_nonce_);
  writer.put_bytes(connector_nonce_);
  writer.put_bytes(connectors);
  if (by == Role::acceptor) writer.put_bytes(acceptors);
  Mac result;
  std::size_t length = 0;
  const auto* made = EVP_Q_mac(
      nullptr, "HMAC", nullptr, "SHA256", nullptr, token_->bytes().data(), token_->bytes().size(),
      reinterpret_cast<const unsigned char*>(text.data()), writer.size(),
      reinterpret_cast<unsigned char*>(result.data()), result.size(), &length);
  SHOAL_ASSERT(made != nullptr && length == kMacBytes, "OpenSSL has no HMAC with SHA-256");
  return result;
}

Status Authenticator::fail(Error error) {
  failed_ = true;
  return error;
}

}  // namespace shoal
