#pragma once

#include <cstring>
#include <functional>

#include "tests/transport/tcp_fixture.h"
#include "transport/auth.h"
#include "transport/tcp/wire.h"

// A peer made of two plain sockets, which knows the token and then says whatever a test wants.

namespace shoal::contract {

using Bytes = std::vector<std::byte>;

/// A sealed frame as it stands on the wire, session frames padded.
inline Bytes frame_bytes(FrameHeader header, std::span<const std::byte> meta,
                         std::span<const std::byte> payload) {
  header.payload_bytes = payload.size();
  seal(header, meta);
  const bool pad = !is_transport_kind(header.kind);
  const auto after_meta = pad ? padded(meta.size()) : meta.size();
  Bytes bytes(sizeof header + after_meta + (pad ? padded(payload.size()) : payload.size()));
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!meta.empty()) std::memcpy(bytes.data() + sizeof header, meta.data(), meta.size());
  if (!payload.empty())
    std::memcpy(bytes.data() + sizeof header + after_meta, payload.data(), payload.size());
  return bytes;
}

inline Bytes bulk_bytes(FrameKind kind, const tcp::BulkMeta& meta,
                        std::span<const std::byte> payload = {}) {
  FrameHeader header;
  header.kind = kind;
  return frame_bytes(header, std::as_bytes(std::span(&meta, 1)), payload);
}

/// One lane of a raw peer: a blocking socket, driven while `turn` polls the transport under test.
class RawLane {
 public:
  RawLane(const Address& to, std::function<void()> turn)
      : fd_(TcpBackend::connect_raw(to)), turn_(std::move(turn)) {}

  int fd() const { return fd_.get(); }
  void hang_up() { fd_.reset(); }
  bool say(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno != EAGAIN) return false;
      if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
      turn_();
    }
    return true;
  }
  /// Up to `bytes`; fewer if the transport hangs up first.
  Bytes hear(std::size_t bytes) {
    Bytes got;
    while (got.size() < bytes) {
      turn_();
      Bytes part(bytes - got.size());
      const auto n = ::recv(fd_.get(), part.data(), part.size(), MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno != EAGAIN)) break;
      if (n > 0) got.insert(got.end(), part.begin(), part.begin() + n);
    }
    return got;
  }
  /// Proves the token as `binding` says. False if the transport hung up.
  bool prove(const tcp::LaneBinding& binding) {
    const auto token = Token::create(bytes_of("the cluster's token")).value();
    Authenticator auth(Authenticator::Role::connector, token, fresh_nonce(), binding.bytes());
    while (!auth.done()) {
      const auto heard = hear(auth.wanted());
      if (heard.empty() || !auth.feed(heard).ok()) return false;
      const Bytes out(auth.outgoing().begin(), auth.outgoing().end());
      auth.sent(out.size());
      if (!say(out)) return false;
    }
    return true;
  }

 private:
  tcp::Fd fd_;
  std::function<void()> turn_;
};

}  // namespace shoal::contract
