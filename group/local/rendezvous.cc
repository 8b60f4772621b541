#include "group/local/rendezvous.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>

#include "group/group.h"

namespace shoal::local {

namespace {

constexpr std::uint32_t kVersion = 1;

struct Hello {
  std::uint32_t version = kVersion;
  std::uint32_t rank = 0;
  std::uint32_t size = 0;
  std::uint32_t reserved = 0;
  std::uint64_t stage_bytes = 0;
};

/// With descriptors: the memory's, then one for each member whose `has_process` is set.
struct Welcome {
  Errc code = Errc::ok;
  std::array<bool, kGroupMembersMax> has_process{};
  std::array<char, 400> text{};
};

struct Address {
  sockaddr_un address{};
  socklen_t length = 0;
};

/// Abstract: it ends with the process that listens, and nothing is left behind.
Result<Address> address_of(const std::string& name) {
  const auto path = fmt::format("shoal-group/{}/{}", ::geteuid(), name);
  Address made;
  made.address.sun_family = AF_UNIX;
  if (name.empty() || path.size() >= sizeof made.address.sun_path)
    return Error{Errc::invalid_argument,
                 fmt::format("a group's name has 1 to 80 bytes, and '{}' {}", name, name.size())};
  std::memcpy(made.address.sun_path + 1, path.data(), path.size());
  made.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + path.size());
  return made;
}

Error system_error(const Terms& terms, std::string_view call) {
  const int native = errno;
  return {Errc::io, fmt::format("group '{}': {}", terms.name, call), native};
}

Result<Descriptor> open_socket(const Terms& terms) {
  Descriptor made(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return system_error(terms, "socket");
  return made;
}

/// Who is at the other end, if it is somebody of this user.
std::optional<pid_t> friend_at(int socket) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0 ||
      credentials.uid != ::geteuid())
    return std::nullopt;
  return credentials.pid;
}

/// Of a process that is there now; none where the kernel or a container's filter has no such call.
Descriptor process_of(pid_t pid) {
  if (pid <= 0) return {};
  return Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool past(const Clock& clock, TimePoint deadline) { return clock.now() >= deadline; }

/// Returns after a while at the latest.
void wait_for(std::vector<pollfd>& watched, const Clock& clock, TimePoint deadline) {
  const auto left = std::clamp(deadline - clock.now(), Duration::zero(), kLookEvery);
  const timespec most{0, left.count()};
  ::ppoll(watched.data(), watched.size(), &most, nullptr);
}

void send_welcome(int socket, const Welcome& welcome, std::span<const int> descriptors) {
  iovec bytes{const_cast<Welcome*>(&welcome), sizeof welcome};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * (kGroupMembersMax + 1))> room{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = room.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  // One that is gone meanwhile is missed at the first meeting.
  (void)::sendmsg(socket, &message, MSG_NOSIGNAL);
}

// --- Member 0 ------------------------------------------------------------------------------------

class Host {
 public:
  Host(const Terms& terms, const Clock& clock, TimePoint deadline)
      : terms_(terms), clock_(clock), deadline_(deadline), seated_(terms.size) {}

  Result<Gathered> gather() {
    if (terms_.size > 1) {
      SHOAL_TRY(listen());
      auto all = wait_for_all();
      if (!all.ok()) return refuse_all(std::move(all).error());
    }
    return share_out();
  }

 private:
  struct Seated {
    Descriptor socket;
    pid_t pid = 0;
  };
  struct Guest {
    Descriptor socket;
    pid_t pid;
  };

  Status listen() {
    SHOAL_ASSIGN(const auto at, address_of(terms_.name));
    SHOAL_ASSIGN(listener_, open_socket(terms_));
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&at.address), at.length) != 0) {
      if (errno != EADDRINUSE) return system_error(terms_, "bind");
      return Error{Errc::exists,
                   fmt::format("another group '{}' is being opened on this machine: two members of "
                               "rank 0, or two jobs that need different names",
                               terms_.name)};
    }
    if (::listen(listener_.get(), kGroupMembersMax) != 0) return system_error(terms_, "listen");
    return {};
  }

  std::uint32_t seated() const {
    return static_cast<std::uint32_t>(
        std::count_if(seated_.begin(), seated_.end(), [](auto& s) { return bool(s.socket); }));
  }

  Status wait_for_all() {
    while (seated() + 1 < terms_.size) {
      if (past(clock_, deadline_)) return missing();
      std::vector<pollfd> watched{{listener_.get(), POLLIN, 0}};
      for (const auto& guest : guests_) watched.push_back({guest.socket.get(), POLLIN, 0});
      for (const auto& one : seated_)
        if (one.socket) watched.push_back({one.socket.get(), POLLIN, 0});
      wait_for(watched, clock_, deadline_);
      accept_guests();
      drop_who_left();  // before somebody comes in its place
      SHOAL_TRY(hear_guests());
    }
    return {};
  }

  Error missing() const {
    std::string who;
    for (std::uint32_t m = 1; m < terms_.size; ++m)
      if (!seated_[m].socket) who += fmt::format("{}{}", who.empty() ? "" : ", ", m);
    return {Errc::timed_out,
            fmt::format("group '{}' of {} was not complete in time: no member of rank {} came; all "
                        "must open it on one machine, as the same user, within the timeout",
                        terms_.name, terms_.size, who)};
  }

  void accept_guests() {
    for (;;) {
      Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!socket) return;
      if (const auto pid = friend_at(socket.get())) guests_.push_back({std::move(socket), *pid});
    }
  }

  Status hear_guests() {
    for (std::size_t i = 0; i < guests_.size();) {
      Hello hello;
      const auto bytes = ::recv(guests_[i].socket.get(), &hello, sizeof hello, 0);
      if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
        ++i;
        continue;
      }
      auto guest = std::move(guests_[i]);
      guests_.erase(guests_.begin() + static_cast<std::ptrdiff_t>(i));
      if (bytes != sizeof hello) continue;
      if (auto error = why_not(hello)) {
        tell(guest.socket.get(), *error);
        return *error;
      }
      seated_[hello.rank] = {std::move(guest.socket), guest.pid};
    }
    return {};
  }

  std::optional<Error> why_not(const Hello& hello) const {
    if (hello.version != kVersion)
      return Error{Errc::version, fmt::format("group '{}': a member of rank {} is of another "
                                              "version of Shoal",
                                              terms_.name, hello.rank)};
    if (hello.size != terms_.size || hello.rank >= terms_.size)
      return Error{
          Errc::mismatch,
          fmt::format("group '{}': member 0 says that it has {} members, member {} says {}",
                      terms_.name, terms_.size, hello.rank, hello.size)};
    if (hello.stage_bytes != terms_.stage_bytes)
      return Error{Errc::mismatch,
                   fmt::format("group '{}': stage_bytes is {} at member 0 and {} at member {}",
                               terms_.name, terms_.stage_bytes, hello.stage_bytes, hello.rank)};
    if (hello.rank == 0 || seated_[hello.rank].socket)
      return Error{Errc::mismatch, fmt::format("group '{}': two members say that they are of rank "
                                               "{}",
                                               terms_.name, hello.rank)};
    return std::nullopt;
  }

  /// One that came and died: another one may take its place.
  void drop_who_left() {
    for (auto& one : seated_) {
      char byte = 0;
      if (one.socket && ::recv(one.socket.get(), &byte, 1, 0) == 0) one = {};
    }
  }

  static void tell(int socket, const Error& error) {
    Welcome refusal;
    refusal.code = error.code;
    error.what.copy(refusal.text.data(), refusal.text.size() - 1);
    send_welcome(socket, refusal, {});
  }
  Error refuse_all(Error error) const {
    for (const auto& one : seated_)
      if (one.socket) tell(one.socket.get(), error);
    return error;
  }

  Result<Gathered> share_out() {
    Gathered gathered;
    gathered.memory = Descriptor(::memfd_create("shoal-group", MFD_CLOEXEC));
    if (!gathered.memory) return refuse_all(system_error(terms_, "memfd_create"));
    // Now, since later a page that is not there is a signal.
    const auto bytes = static_cast<off_t>(terms_.page_bytes);
    if (const int native = ::posix_fallocate(gathered.memory.get(), 0, bytes); native != 0)
      return refuse_all(
          {Errc::no_memory,
           fmt::format("group '{}': {} bytes of shared memory; fewer stage_bytes need "
                       "less",
                       terms_.name, bytes),
           native});
    Welcome welcome;
    std::vector<int> descriptors{gathered.memory.get()};
    for (std::uint32_t m = 0; m < terms_.size; ++m) {
      gathered.processes.push_back(process_of(m == 0 ? ::getpid() : seated_[m].pid));
      welcome.has_process[m] = bool(gathered.processes[m]);
      if (gathered.processes[m]) descriptors.push_back(gathered.processes[m].get());
    }
    for (std::uint32_t m = 1; m < terms_.size; ++m)
      send_welcome(seated_[m].socket.get(), welcome, descriptors);
    return gathered;
  }

  const Terms& terms_;
  const Clock& clock_;
  TimePoint deadline_;
  Descriptor listener_;
  std::vector<Guest> guests_;
  std::vector<Seated> seated_;
};

// --- The others ----------------------------------------------------------------------------------

Result<Descriptor> connect(const Terms& terms, const Clock& clock, TimePoint deadline) {
  SHOAL_ASSIGN(const auto at, address_of(terms.name));
  for (;;) {
    SHOAL_ASSIGN(auto socket, open_socket(terms));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&at.address), at.length) == 0) {
      if (friend_at(socket.get())) return socket;
      return Error{Errc::untrusted,
                   fmt::format("group '{}': another user listens at its name", terms.name)};
    }
    if (errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR)
      return system_error(terms, "connect");
    if (past(clock, deadline))
      return Error{Errc::timed_out,
                   fmt::format("group '{}' of {}: member 0 did not come; all must open it on one "
                               "machine, as the same user, within the timeout",
                               terms.name, terms.size)};
    std::vector<pollfd> nothing;
    wait_for(nothing, clock, deadline);
  }
}

/// False: not yet.
Result<bool> receive_welcome(const Terms& terms, int socket, Welcome& welcome,
                             std::vector<Descriptor>& descriptors) {
  iovec bytes{&welcome, sizeof welcome};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * (kGroupMembersMax + 1))> room{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = room.data();
  message.msg_controllen = room.size();
  const auto received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const auto count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(header) + i * sizeof number, sizeof number);
      descriptors.emplace_back(number);
    }
  }
  if (received == sizeof welcome) return true;
  return Error{
      Errc::peer_lost,
      fmt::format("group '{}': member 0 died or gave up while others were awaited", terms.name)};
}

Result<Gathered> join(const Terms& terms, const Clock& clock, TimePoint deadline) {
  SHOAL_ASSIGN(const auto socket, connect(terms, clock, deadline));
  const Hello hello{kVersion, terms.rank, terms.size, 0, terms.stage_bytes};
  if (::send(socket.get(), &hello, sizeof hello, MSG_NOSIGNAL) < 0)
    return system_error(terms, "send");
  Welcome welcome;
  std::vector<Descriptor> descriptors;
  for (;;) {
    SHOAL_ASSIGN(const bool there, receive_welcome(terms, socket.get(), welcome, descriptors));
    if (there) break;
    if (past(clock, deadline))
      return Error{Errc::timed_out,
                   fmt::format("group '{}' of {} was not complete in time; member 0 is there and "
                               "knows who is missing",
                               terms.name, terms.size)};
    std::vector<pollfd> watched{{socket.get(), POLLIN, 0}};
    wait_for(watched, clock, deadline);
  }
  if (welcome.code != Errc::ok) return Error{welcome.code, welcome.text.data()};
  Gathered gathered;
  std::size_t next = 1;
  const auto expected =
      1 + std::count(welcome.has_process.begin(), welcome.has_process.end(), true);
  if (descriptors.size() != static_cast<std::size_t>(expected))
    return Error{Errc::io,
                 fmt::format("group '{}': {} of {} descriptors came from member 0: is this process "
                             "at its limit of open files (ulimit -n)?",
                             terms.name, descriptors.size(), expected)};
  gathered.memory = std::move(descriptors[0]);
  for (std::uint32_t m = 0; m < terms.size; ++m)
    gathered.processes.push_back(welcome.has_process[m] ? std::move(descriptors[next++])
                                                        : Descriptor());
  return gathered;
}

}  // namespace

Result<Gathered> gather(const Terms& terms, const Clock& clock, TimePoint deadline) {
  if (terms.rank == 0) return Host(terms, clock, deadline).gather();
  return join(terms, clock, deadline);
}

}  // namespace shoal::local
