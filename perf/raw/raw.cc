#include "perf/raw/raw.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "perf/ring.h"

namespace shoal::perf {

namespace {

/// Messages up to this size are received as many at a time as there are.
constexpr std::size_t kSmallBytes = 4u << 10;
constexpr std::size_t kStagedBytes = 64u << 10;

Error peer_ended() { return {Errc::peer_lost, "the raw baseline's other process has ended"}; }

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// A connected socket that waits as it is told.
class Stream {
 public:
  Stream(int fd, Wait wait) : fd_(fd), flags_(wait == Wait::spin ? MSG_DONTWAIT : 0) {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { ::close(fd_); }

  Status send(const std::byte* data, std::size_t bytes) {
    while (bytes > 0) {
      const auto sent = ::send(fd_, data, bytes, flags_ | MSG_NOSIGNAL);
      if (sent < 0 && again()) continue;
      if (sent < 0) return Error{Errc::io, "send on a raw socket", errno};
      data += sent;
      bytes -= static_cast<std::size_t>(sent);
    }
    return {};
  }
  /// What there is, at least a byte; 0: the other side has hung up.
  Result<std::size_t> receive_some(std::byte* data, std::size_t bytes) {
    for (;;) {
      const auto got = ::recv(fd_, data, bytes, flags_);
      if (got >= 0) return static_cast<std::size_t>(got);
      if (!again()) return Error{Errc::io, "recv on a raw socket", errno};
    }
  }
  /// False: the other side has hung up before.
  Result<bool> receive(std::byte* data, std::size_t bytes) {
    while (bytes > 0) {
      SHOAL_ASSIGN(const auto got, receive_some(data, bytes));
      if (got == 0) return false;
      data += got;
      bytes -= got;
    }
    return true;
  }

 private:
  bool again() const {
    if (errno == EINTR) return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
    relax();
    return true;
  }
  int fd_;
  int flags_;
};

/// Messages of one size from a stream into a ring.
class Inbox {
 public:
  Inbox(Stream& stream, std::size_t bytes, std::uint32_t inflight)
      : stream_(stream), bytes_(bytes), ring_(bytes, inflight, false) {
    if (bytes <= kSmallBytes) staged_.resize(kStagedBytes);
  }
  /// Waits for at least one message and takes all that are there. 0: the other side has hung up.
  Result<std::size_t> receive() {
    if (staged_.empty()) {
      SHOAL_ASSIGN(const bool whole, stream_.receive(ring_.at(next_++).data, bytes_));
      return whole ? std::size_t{1} : std::size_t{0};
    }
    while (filled_ < bytes_) {
      SHOAL_ASSIGN(const auto got,
                   stream_.receive_some(staged_.data() + filled_, staged_.size() - filled_));
      if (got == 0) return std::size_t{0};
      filled_ += got;
    }
    const auto count = filled_ / bytes_;
    const auto used = count * bytes_;
    for (std::size_t i = 0; i < count; ++i)
      std::memcpy(ring_.at(next_++).data, staged_.data() + i * bytes_, bytes_);
    std::memmove(staged_.data(), staged_.data() + used, filled_ - used);
    filled_ -= used;
    return count;
  }

 private:
  Stream& stream_;
  std::size_t bytes_;
  Ring ring_;
  std::uint64_t next_ = 0;
  std::vector<std::byte> staged_;
  std::size_t filled_ = 0;
};

/// Messages of one size from a ring into a stream.
class Outbox {
 public:
  Outbox(Stream& stream, std::size_t bytes, std::uint32_t inflight, bool batched)
      : stream_(stream), bytes_(bytes), ring_(bytes, inflight, false) {
    if (batched) staged_.reserve(kStagedBytes);
  }
  Status send() {
    if (staged_.capacity() == 0) return stream_.send(ring_.at(next_++).data, bytes_);
    if (staged_.size() + bytes_ > staged_.capacity()) SHOAL_TRY(flush());
    const auto* message = ring_.at(next_++).data;
    staged_.insert(staged_.end(), message, message + bytes_);
    return {};
  }
  Status flush() {
    if (staged_.empty()) return {};
    SHOAL_TRY(stream_.send(staged_.data(), staged_.size()));
    staged_.clear();
    return {};
  }

 private:
  Stream& stream_;
  std::size_t bytes_;
  Ring ring_;
  std::uint64_t next_ = 0;
  std::vector<std::byte> staged_;
};

}  // namespace

Result<std::unique_ptr<RawServer>> RawServer::create() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto address = loopback(0);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || ::bind(fd, generic, length) != 0 || ::listen(fd, 8) != 0 ||
      ::getsockname(fd, generic, &length) != 0) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    return Error{Errc::io, "cannot listen on the loopback interface for the raw baseline", error};
  }
  return std::unique_ptr<RawServer>(new RawServer(fd, ntohs(address.sin_port)));
}

RawServer::~RawServer() { ::close(fd_); }

Status RawServer::serve(const RawPattern& pattern) {
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return Error{Errc::io, "accept on a raw socket", errno};
  Stream stream(fd, pattern.wait);
  Inbox requests(stream, pattern.request_bytes, pattern.inflight);
  Outbox answers(stream, pattern.answer_bytes, pattern.inflight, pattern.batched);
  const std::byte greeting{};  // the buffers are there
  SHOAL_TRY(stream.send(&greeting, 1));
  for (;;) {
    SHOAL_ASSIGN(auto count, requests.receive());
    if (count == 0) return {};
    while (count-- > 0) SHOAL_TRY(answers.send());
    SHOAL_TRY(answers.flush());
  }
}

struct RawClient::Parts {
  Parts(int fd, const RawPattern& p)
      : pattern(p),
        stream(fd, p.wait),
        requests(stream, p.request_bytes, p.inflight, p.batched),
        answers(stream, p.answer_bytes, p.inflight) {}
  RawPattern pattern;
  Stream stream;
  Outbox requests;
  Inbox answers;
  std::size_t ready = 0;  // answers received and not yet counted
};

RawClient::RawClient(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
RawClient::~RawClient() = default;

Result<std::unique_ptr<RawClient>> RawClient::connect(std::uint16_t port,
                                                      const RawPattern& pattern) {
  const auto address = loopback(port);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    if (fd >= 0) ::close(fd);
    return Error{Errc::io, "cannot connect to the raw baseline's other process", error};
  }
  auto parts = std::make_unique<Parts>(fd, pattern);
  std::byte greeting{};
  SHOAL_ASSIGN(const bool there, parts->stream.receive(&greeting, 1));
  if (!there) return peer_ended();
  return std::unique_ptr<RawClient>(new RawClient(std::move(parts)));
}

Result<Measured> RawClient::run(const Clock& clock, const Limits& limits, Recorder& recorder) {
  auto& parts = *parts_;
  const auto& pattern = parts.pattern;
  return run_window(
      clock, limits, pattern.inflight, std::max(pattern.request_bytes, pattern.answer_bytes),
      recorder, [&](std::uint64_t) { return parts.requests.send(); },
      [&](std::uint64_t) -> Status {
        if (parts.ready == 0) {
          SHOAL_TRY(parts.requests.flush());
          SHOAL_ASSIGN(parts.ready, parts.answers.receive());
          if (parts.ready == 0) return peer_ended();
        }
        --parts.ready;
        return {};
      });
}

}  // namespace shoal::perf
