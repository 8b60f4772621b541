#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tests/transport/contract.h"
#include "transport/tcp/socket.h"

// Real sockets on loopback, as the contract suite and the tests of the TCP backend use them.

namespace shoal::contract {

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// Transports of one process on 127.0.0.1.
class TcpBackend : public Backend {
 public:
  explicit TcpBackend(tcp::TcpOptions options = {}) : options_(std::move(options)) {}

  const Clock& clock() const override { return clock_; }
  Node make(bool right_token = true) override {
    auto options = options_;
    options.token = token(right_token);
    return watch(tcp::create_tcp(options, clock_).value());
  }
  // Waits until a kernel event concerns one of the transports, or a timer's tick.
  bool advance() override {
    std::vector<pollfd> fds;
    for (const auto& fd : watched_) fds.push_back({fd.get(), POLLIN, 0});
    if (::poll(fds.data(), fds.size(), 1) > 0) return still_alive();
    if (!quiet_since_) quiet_since_ = clock_.now();
    return clock_.now() - *quiet_since_ < std::chrono::seconds(20);
  }
  // The kernel takes connections into the backlog; nobody accepts them.
  Address silent_address() override { return bind_port(true); }
  Address dead_address() override {
    const auto address = bind_port(false);
    sockets_.clear();
    return address;
  }
  std::string touches_freed_because(bool written) const override {
    return written ? "what came of a WRITE ahead of its turn is copied by the CPU" : "";
  }
  bool send_garbage(const Address& to) override {
    const auto garbage = pattern(1000, 42);
    const auto fd = connect_raw(to);
    return ::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL) > 0;
  }

  /// A plain socket to a transport: a stranger. Blocking; a receive gives up after 10 s.
  static tcp::Fd connect_raw(const Address& to) {
    tcp::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{10, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const auto address = loopback(to.port);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      fd.reset();
    return fd;
  }

 protected:
  static std::vector<std::byte> token(bool right) {
    return bytes_of(right ? "the cluster's token" : "another cluster's token");
  }
  Node watch(std::unique_ptr<Transport> transport) {
    // A descriptor of our own to wait on, which outlives a transport that the test kills.
    watched_.emplace_back(::dup(transport->wait_fd()));
    return {std::move(transport), {"127.0.0.1", 0}};
  }
  /// Something happened.
  bool still_alive() {
    quiet_since_ = clock_.now();
    return true;
  }

 private:
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  Address bind_port(bool listening) {
    tcp::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto any = loopback(0);
    ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any);
    if (listening) ::listen(fd.get(), 16);
    const auto address = tcp::local_address(fd.get()).to_address();
    sockets_.push_back(std::move(fd));
    return address;
  }

  SteadyClock clock_;
  tcp::TcpOptions options_;
  std::vector<tcp::Fd> watched_;
  std::vector<tcp::Fd> sockets_;
  std::optional<TimePoint> quiet_since_;
};

}  // namespace shoal::contract
