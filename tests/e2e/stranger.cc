#include "tests/e2e/stranger.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/base/assert.h"

namespace shoal::e2e {

Stranger::Stranger(const std::string& address) {
  const auto colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
  SHOAL_ASSERT(::inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr) == 1, "IPv4");
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  SHOAL_ASSERT(fd_ >= 0, "socket");
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return;
  ::close(fd_);
  fd_ = -1;
}

Stranger::~Stranger() {
  if (fd_ >= 0) ::close(fd_);
}

bool Stranger::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

std::optional<std::vector<std::byte>> Stranger::receive(std::size_t count,
                                                        std::chrono::nanoseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  std::vector<std::byte> bytes(count);
  for (std::size_t at = 0; at < count;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    pollfd readable{fd_, POLLIN, 0};
    const int ready =
        ::poll(&readable, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return std::nullopt;
    const auto got = ::recv(fd_, bytes.data() + at, count - at, 0);
    if (got <= 0) return std::nullopt;
    at += static_cast<std::size_t>(got);
  }
  return bytes;
}

bool Stranger::closed_by_peer(std::chrono::nanoseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (receive(1, end - std::chrono::steady_clock::now())) {
  }
  return std::chrono::steady_clock::now() < end;
}

bool Stranger::prove(std::string_view token, const tcp::LaneBinding& binding) {
  const auto secret = Token::create(std::as_bytes(std::span(token))).value();
  Authenticator handshake(Authenticator::Role::connector, secret, fresh_nonce(), binding.bytes());
  while (!handshake.done()) {
    if (const auto out = handshake.outgoing(); !out.empty()) {
      if (!send(out)) return false;
      handshake.sent(out.size());
    }
    const auto in = receive(handshake.wanted());
    if (!in || !handshake.feed(*in).ok()) return false;
  }
  return true;
}

namespace {

/// A socket bound to a free port of the loopback interface.
int bound_socket(std::string& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof to;
  SHOAL_ASSERT(fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&to), size) == 0, "bind");
  SHOAL_ASSERT(::getsockname(fd, reinterpret_cast<sockaddr*>(&to), &size) == 0, "getsockname");
  address = "127.0.0.1:" + std::to_string(ntohs(to.sin_port));
  return fd;
}

}  // namespace

DeadPort::DeadPort() : fd_(bound_socket(address_)) {}
DeadPort::~DeadPort() { ::close(fd_); }

Listener::Listener() : fd_(bound_socket(address_)) {
  SHOAL_ASSERT(::listen(fd_, 64) == 0, "listen");
}
Listener::~Listener() { ::close(fd_); }

std::optional<Stranger> Listener::accept(std::chrono::nanoseconds patience) {
  pollfd readable{fd_, POLLIN, 0};
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
  if (::poll(&readable, 1, static_cast<int>(ms)) != 1) return std::nullopt;
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return std::nullopt;
  return Stranger(fd);
}

void allow_descriptors(std::size_t count) {
  rlimit limit{};
  SHOAL_ASSERT(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
  limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, count + 64));
  SHOAL_ASSERT(::setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

std::vector<std::byte> frame_bytes(FrameHeader header, std::span<const std::byte> meta) {
  const auto declared = header.meta_bytes;
  seal(header, meta);
  if (declared != 0) header.meta_bytes = declared;  // a lie that the caller wants told
  std::vector<std::byte> bytes(sizeof header + meta.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  std::copy(meta.begin(), meta.end(), bytes.begin() + sizeof header);
  return bytes;
}

}  // namespace shoal::e2e
