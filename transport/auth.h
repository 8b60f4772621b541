#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/wire/frame.h"

// Mutual proof that both ends of a fresh connection know the cluster's token, before any other
// frame is parsed. Backend neutral: bytes in, bytes out. See docs/design/wire_format.md.

namespace shoal {

inline constexpr std::size_t kNonceBytes = 32;
inline constexpr std::size_t kMacBytes = 32;  // SHA-256
inline constexpr std::size_t kAuthBindingBytes = 32;

using Nonce = std::array<std::byte, kNonceBytes>;
using Mac = std::array<std::byte, kMacBytes>;
/// What a backend wants to be sure that the other side said: lane and join id, a queue pair's
/// number. Opaque here; both MACs cover it.
using AuthBinding = std::array<std::byte, kAuthBindingBytes>;

/// Unpredictable bytes from getrandom(2). Aborts where the kernel has none: no connection may be
/// made with a guessable nonce.
void fill_random(std::span<std::byte> bytes) noexcept;
Nonce fresh_nonce() noexcept;

/// The secret that makes a process part of the cluster. Wiped when it goes. Shared by reference by
/// the handshakes of one transport, which must not outlive it.
class Token {
 public:
  /// Errc::invalid_argument: empty.
  static Result<Token> create(std::span<const std::byte> bytes);
  Token(Token&&) noexcept = default;
  Token& operator=(Token&&) = delete;
  ~Token();
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  explicit Token(std::span<const std::byte> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  std::vector<std::byte> bytes_;
};

/// One side of one handshake, a state machine without I/O (RFC 2104 HMAC over SHA-256, challenge
/// and answer in both directions; each MAC begins with a label of its role, so a reflected one is
/// wrong):
///
///     acceptor  -> connector   auth_challenge  nonce_a
///     connector -> acceptor    auth_proof      nonce_c, binding_c, HMAC("connector", all so far)
///     acceptor  -> connector   auth_accept     binding_a, HMAC("acceptor", all so far)
///
/// Afterwards the stream is plain: the handshake keeps strangers out, it does not protect from
/// somebody who can alter packets on the way.
///
/// The driver sends `outgoing()` whenever it is not empty (then calls sent()), reads exactly
/// `wanted()` bytes or fewer, and hands them to feed(). After a failure outgoing() may hold a
/// farewell that tells the peer why; it is worth one attempt to send.
class Authenticator {
 public:
  enum class Role : std::uint8_t { connector, acceptor };

  /// `nonce` must be fresh_nonce() (fixed in tests only). `token` must outlive this.
  Authenticator(Role role, const Token& token, const Nonce& nonce, const AuthBinding& binding);

  std::span<const std::byte> outgoing() const {
    return std::span(frame_).subspan(out_begin_, out_end_ - out_begin_);
  }
  void sent(std::size_t bytes) { out_begin_ = static_cast<std::uint16_t>(out_begin_ + bytes); }
  /// Bytes up to the next step of the handshake, never beyond: what follows belongs to the stream.
  std::size_t wanted() const { return done_ || failed_ ? 0 : need_ - in_bytes_; }
  /// Errors: untrusted (the peer does not know our token, or has seen our proof and says that it is
  /// wrong), version, protocol and corrupt (not a Shoal peer). After an error nothing more may be
  /// fed.
  Status feed(std::span<const std::byte> bytes);

  bool done() const { return done_; }
  /// What the peer bound to its proof; authentic once done().
  const AuthBinding& peer_binding() const { return peer_binding_; }

 private:
  static constexpr std::size_t kFrameMax =
      kFrameHeaderBytes + kNonceBytes + kAuthBindingBytes + kMacBytes;

  FrameKind expected() const;
  std::size_t expected_meta() const;
  Status on_prefix();
  Status on_header();
  Status on_frame();
  Status on_farewell(const FrameHeader& header);
  Status on_proof(std::span<const std::byte> meta);
  Status on_accept(std::span<const std::byte> meta);
  void challenge();
  void prove();
  void accept();
  void farewell(FrameKind kind, Errc status);
  void emit(FrameKind kind, Errc status, std::span<const std::byte> meta);
  Mac mac(Role by) const;
  Status fail(Error error);

  const Token* token_;
  Role role_;
  bool done_ = false;
  bool failed_ = false;
  bool have_header_ = false;
  std::uint16_t need_ = kFrameHeaderBytes;
  std::uint16_t in_bytes_ = 0;
  std::uint16_t out_begin_ = 0;
  std::uint16_t out_end_ = 0;
  Nonce acceptor_nonce_{};
  Nonce connector_nonce_{};
  AuthBinding own_binding_{};
  AuthBinding peer_binding_{};
  std::array<std::byte, kFrameMax> in_{};
  std::array<std::byte, kFrameMax> frame_{};
};

}  // namespace shoal
