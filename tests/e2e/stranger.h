#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/e2e/process.h"
#include "transport/tcp/wire.h"

namespace shoal::e2e {

/// A plain TCP connection to a port of the cluster, by somebody who need not behave.
class Stranger {
 public:
  /// Connects to "127.0.0.1:port". Check connected().
  explicit Stranger(const std::string& address);
  /// Takes over a connected socket.
  explicit Stranger(int fd) : fd_(fd) {}
  ~Stranger();
  Stranger(Stranger&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Stranger& operator=(Stranger&&) = delete;

  bool connected() const { return fd_ >= 0; }
  /// False: the peer had closed the connection already.
  bool send(std::span<const std::byte> bytes);
  bool send(std::string_view text) { return send(std::as_bytes(std::span(text))); }
  /// Reads exactly `count` bytes. Empty: closed, or not within `patience`.
  std::optional<std::vector<std::byte>> receive(std::size_t count,
                                                std::chrono::nanoseconds patience = kPatience);
  /// Waits, discarding what comes, until the peer closes the connection.
  bool closed_by_peer(std::chrono::nanoseconds patience = kPatience);
  /// Proves the token as a connector does. False: it was not let in.
  bool prove(std::string_view token, const tcp::LaneBinding& binding);

 private:
  int fd_ = -1;
};

/// A port that is taken. It listens; nobody is accepted unless asked for.
class Listener {
 public:
  Listener();
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  const std::string& address() const { return address_; }
  /// The next connection. Empty: none within `patience`.
  std::optional<Stranger> accept(std::chrono::nanoseconds patience = kPatience);

 private:
  std::string address_;  // before fd_, whose making fills it
  int fd_ = -1;
};

/// An address at which nobody listens: its port is bound, and stays so, but refuses connections.
class DeadPort {
 public:
  DeadPort();
  ~DeadPort();
  DeadPort(const DeadPort&) = delete;
  DeadPort& operator=(const DeadPort&) = delete;
  const std::string& address() const { return address_; }

 private:
  std::string address_;  // before fd_, whose making fills it
  int fd_ = -1;
};

/// Makes room for `count` descriptors in this process.
void allow_descriptors(std::size_t count);

/// A header as an honest peer would send it, in the bytes of the wire.
std::vector<std::byte> frame_bytes(FrameHeader header, std::span<const std::byte> meta = {});

}  // namespace shoal::e2e
