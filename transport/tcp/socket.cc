#include "transport/tcp/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace shoal::tcp {

void Fd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Address SocketAddress::to_address() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
    return {text.data(), ntohs(v6->sin6_port)};
  }
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
  ::inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
  return {text.data(), ntohs(v4->sin_port)};
}

bool SocketAddress::is_loopback() const {
  if (storage.ss_family == AF_INET6)
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr);
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
  return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
}

Result<SocketAddresses> resolve(const Address& address, bool to_listen) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST | (to_listen ? AI_PASSIVE : 0);
  const auto port = std::to_string(address.port);
  addrinfo* found = nullptr;
  auto code = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
  if (code == EAI_NONAME) {
    hints.ai_flags &= ~AI_NUMERICHOST;
    code = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
  }
  // Every machine has this name, also one without /etc/hosts (RFC 6761, 6.3).
  if (code != 0 && address.host == "localhost")
    code = ::getaddrinfo("127.0.0.1", port.c_str(), &hints, &found);
  if (code != 0) {
    const bool no_such = code == EAI_NONAME;
    return Error{no_such ? Errc::invalid_argument : Errc::io,
                 fmt::format("cannot resolve the host of '{}': {}; use a name that this machine "
                             "knows, or a numeric address",
                             address.to_string(), ::gai_strerror(code)),
                 code == EAI_SYSTEM ? errno : 0};
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, ::freeaddrinfo);
  SocketAddresses result;
  for (const auto* at = found; at != nullptr && result.count < result.list.size();
       at = at->ai_next) {
    auto& to = result.list[result.count++];
    std::memcpy(&to.storage, at->ai_addr, at->ai_addrlen);
    to.length = at->ai_addrlen;
  }
  return result;
}

SocketAddress local_address(int fd) {
  SocketAddress at;
  ::getsockname(fd, at.get(), &at.length);
  return at;
}

SocketAddress remote_address(int fd) {
  SocketAddress at;
  ::getpeername(fd, at.get(), &at.length);
  return at;
}

Result<Fd> open_listener(const SocketAddress& at, const Address& name) {
  Fd fd(::socket(at.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error{Errc::io, "no descriptor for a listening socket", errno};
  const int on = 1;
  // A restarted server must get its port back while old connections are in TIME_WAIT.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), at.get(), at.length) != 0 || ::listen(fd.get(), kListenBacklog) != 0) {
    const int error = errno;
    const auto* why = error == EADDRINUSE      ? "the port is in use by another process"
                      : error == EADDRNOTAVAIL ? "this machine has no such address"
                      : error == EACCES        ? "the port needs privileges"
                                               : "bind or listen failed";
    return Error{Errc::io, fmt::format("cannot listen on {}: {}", name.to_string(), why), error};
  }
  return fd;
}

Result<Fd> start_connect(const SocketAddress& to, const TcpOptions& options) {
  Fd fd(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return Error{Errc::io, "no descriptor for a connection", errno};
  set_connection_options(fd.get(), options);
  if (::connect(fd.get(), to.get(), to.length) != 0 && errno != EINPROGRESS)
    return Error{errc_of(errno), "connect", errno};
  return fd;
}

void set_connection_options(int fd, const TcpOptions& options) {
  const auto set = [fd](int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
  };
  using std::chrono::duration_cast;
  const auto idle = std::max<long>(
      1, static_cast<long>(duration_cast<std::chrono::seconds>(options.keepalive_idle).count()));
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(idle));
  set(IPPROTO_TCP, TCP_KEEPINTVL, static_cast<int>(std::max(1L, idle / 2)));
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT,
      static_cast<int>(duration_cast<milliseconds>(options.user_timeout).count()));
  if (options.send_buffer_bytes > 0) set(SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  if (options.receive_buffer_bytes > 0) set(SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
}

Errc errc_of(int error) {
  switch (error) {
    case ECONNREFUSED:
      return Errc::refused;
    case ETIMEDOUT:
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
      return Errc::peer_lost;
    default:
      return Errc::io;
  }
}

}  // namespace shoal::tcp
