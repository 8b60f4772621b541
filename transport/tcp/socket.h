#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <string>
#include <utility>

#include "transport/tcp/limits.h"
#include "transport/tcp/tcp.h"

namespace shoal::tcp {

/// Owns a descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

/// An IPv4 or IPv6 address and port, as the kernel wants it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_storage);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  Address to_address() const;
  bool is_loopback() const;
};

struct SocketAddresses {
  std::array<SocketAddress, kAddressesMax> list;
  std::size_t count = 0;
};

/// Numeric hosts are read without blocking, others asked of getaddrinfo(3). Errors: io, and
/// invalid_argument for a host that does not exist.
Result<SocketAddresses> resolve(const Address& address, bool to_listen);

/// Local and remote ends of a connected socket.
SocketAddress local_address(int fd);
SocketAddress remote_address(int fd);

/// A listening socket. Errors: io with errno.
Result<Fd> open_listener(const SocketAddress& at, const Address& name);
/// A socket on its way to `to`. Errors: io with errno.
Result<Fd> start_connect(const SocketAddress& to, const TcpOptions& options);
/// No delay, keepalive, time-outs, buffers. What fails is not worth losing the connection for.
void set_connection_options(int fd, const TcpOptions& options);

/// What an errno of a connection means to a session.
Errc errc_of(int error);

}  // namespace shoal::tcp
