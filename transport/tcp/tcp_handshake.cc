#include <errno.h>
#include <fmt/core.h>
#include <sys/epoll.h>

#include <algorithm>

#include "core/base/log.h"
#include "transport/tcp/tcp_transport.h"

// How endpoints come to be: listening, strangers and their proofs, joining two lanes, connecting.

namespace shoal::tcp {

namespace {

constexpr std::uint64_t kIndexMask = (1u << kEndpointIndexBits) - 1;

/// Sends what the handshake has to say. A fresh socket takes these few bytes whole or it is broken.
Status say(int fd, Authenticator& auth) {
  const auto bytes = auth.outgoing();
  if (bytes.empty()) return {};
  const auto n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n != static_cast<ssize_t>(bytes.size()))
    return Error{n < 0 ? errc_of(errno) : Errc::peer_lost, "the connection broke while it was made",
                 n < 0 ? errno : 0};
  auth.sent(bytes.size());
  return {};
}

/// Moves a handshake on as far as the socket allows, reading no byte beyond it.
Status converse(int fd, Authenticator& auth) {
  std::array<std::byte, 256> buffer;
  for (;;) {
    SHOAL_TRY(say(fd, auth));
    const auto wanted = std::min(auth.wanted(), buffer.size());
    if (wanted == 0) return {};
    const auto n = ::recv(fd, buffer.data(), wanted, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    if (n < 0) return Error{errc_of(errno), "connecting", errno};
    if (n == 0) return Error{Errc::peer_lost, "the peer hung up while the connection was made"};
    if (auto status = auth.feed(std::span(buffer).first(static_cast<std::size_t>(n)));
        !status.ok()) {
      (void)say(fd, auth);  // the farewell that tells the peer why
      return status;
    }
  }
}

bool lacks_resources(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

void TcpTransport::warn(const std::string& peer, const Error& error) {
  const auto now = clock_.now();
  if (last_warning_ != TimePoint::min() && now - last_warning_ < kWarningInterval) {
    ++warnings_held_back_;
    return;
  }
  last_warning_ = now;
  const auto held_back = std::exchange(warnings_held_back_, 0);
  log_warn("tcp", "turned away a connection from {}: {}{}", peer, error.message(),
           held_back == 0 ? "" : fmt::format(" ({} more were not reported)", held_back));
}

/// A session tries for ever: the first error of a peer is told, then now and then how many there
/// were.
void TcpTransport::complain(const std::string& peer, const Error& error) {
  if (complaints_.size() == kComplaintsMax) complaints_.clear();
  const auto now = clock_.now();
  const auto [at, fresh] = complaints_.try_emplace(peer);
  auto& complaint = at->second;
  if (!fresh && now - complaint.told < kComplaintInterval) {
    ++complaint.held_back;
    return;
  }
  complaint.told = now;
  const auto held_back = std::exchange(complaint.held_back, 0);
  log_error("tcp", "cannot connect to {}: {}{}", peer, error.message(),
            held_back == 0 ? "" : fmt::format(" ({} tries since this was said)", held_back));
}

// --- Accepting -----------------------------------------------------------------------------------

Result<Address> TcpTransport::listen(const Address& at) {
  owner_.check();
  SHOAL_ASSIGN(const auto addresses, resolve(at, true));
  SHOAL_ASSIGN(auto fd, open_listener(addresses.list[0], at));
  const auto port = local_address(fd.get()).to_address().port;
  watch(epoll_, fd.get(), EPOLL_CTL_ADD, EPOLLIN, Tag::listener, listeners_.size());
  listeners_.push_back({std::move(fd), false});
  return Address{at.host, port};
}

void TcpTransport::accept_all(std::size_t index, TimePoint now) {
  auto& listener = listeners_[index];
  for (int i = 0; i < kAcceptsPerPoll; ++i) {
    if (strangers_ >= kHandshakesMax && !make_room_for_stranger(listener, now)) return;
    Fd fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (!lacks_resources(errno)) continue;  // that connection is gone already
      if (drop_oldest_stranger()) continue;
      ++counters_.accept_rests;
      warn("a new peer", {Errc::io, "no descriptor is left: raise the limit (ulimit -n)", errno});
      return rest(listener, deadline_after(now, kAcceptRest));
    }
    set_connection_options(fd.get(), options_);
    auto slot = std::find(handshakes_.begin(), handshakes_.end(), nullptr);
    if (slot == handshakes_.end()) slot = handshakes_.insert(slot, nullptr);
    const auto at = static_cast<std::size_t>(slot - handshakes_.begin());
    const auto id = (++handshake_number_ << kEndpointIndexBits) | at;
    LaneBinding own;
    own.features = features();
    *slot = std::make_unique<Handshake>(Handshake{
        std::move(fd), now, id, false,
        Authenticator(Authenticator::Role::acceptor, token_, fresh_nonce(), own.bytes())});
    ++strangers_;
    set_timer(deadline_after(now, kHandshakeDeadline));
    watch(epoll_, (*slot)->fd.get(), EPOLL_CTL_ADD, EPOLLIN, Tag::handshake, id);
    on_handshake(id);  // sends the challenge
  }
}

// Strangers hold all places. The oldest has had its time, or the newcomer waits in the backlog.
bool TcpTransport::make_room_for_stranger(Listener& listener, TimePoint now) {
  auto oldest = kNever;
  for (const auto& one : handshakes_)
    if (one != nullptr && !one->proved) oldest = std::min(oldest, one->since);
  if (now - oldest >= kHandshakeGrace) return drop_oldest_stranger();
  ++counters_.accept_rests;
  rest(listener, oldest + kHandshakeGrace);
  return false;
}

bool TcpTransport::drop_oldest_stranger() {
  std::size_t oldest = handshakes_.size();
  for (std::size_t i = 0; i < handshakes_.size(); ++i) {
    const auto* one = handshakes_[i].get();
    if (one == nullptr || one->proved) continue;
    if (oldest == handshakes_.size() || one->since < handshakes_[oldest]->since) oldest = i;
  }
  if (oldest == handshakes_.size()) return false;
  ++counters_.crowded_out;
  drop_handshake(oldest);
  return true;
}

void TcpTransport::rest(Listener& listener, TimePoint until) {
  if (!listener.resting) {
    const auto index = static_cast<std::size_t>(&listener - listeners_.data());
    watch(epoll_, listener.fd.get(), EPOLL_CTL_MOD, 0, Tag::listener, index);
  }
  listener.resting = true;
  set_timer(until);
}

void TcpTransport::on_handshake(std::uint64_t id) {
  const auto index = id & kIndexMask;
  if (index >= handshakes_.size() || handshakes_[index] == nullptr || handshakes_[index]->id != id)
    return;
  auto& handshake = *handshakes_[index];
  // A half that only waits for its other lane has nothing to say: its peer hung up.
  if (handshake.proved) return drop_handshake(index);
  if (auto status = converse(handshake.fd.get(), handshake.auth); !status.ok())
    return give_up_handshake(index, status.error());
  if (!handshake.auth.done()) return;
  handshake.proved = true;
  --strangers_;
  join_lanes(index);
}

void TcpTransport::give_up_handshake(std::size_t index, const Error& error) {
  switch (error.code) {
    case Errc::untrusted:
      ++counters_.wrong_token;
      break;
    case Errc::version:
      ++counters_.wrong_version;
      break;
    case Errc::protocol:
    case Errc::corrupt:
      ++counters_.garbage;
      break;
    default:
      break;  // hung up: a scanner, or a peer that thought better of it
  }
  if (error.code == Errc::untrusted || error.code == Errc::version)
    warn(remote_address(handshakes_[index]->fd.get()).to_address().to_string(), error);
  drop_handshake(index);
}

void TcpTransport::drop_handshake(std::size_t index) {
  if (!handshakes_[index]->proved) --strangers_;
  handshakes_[index].reset();
}

// The second lane of an endpoint to prove itself finds the first by their random id.
void TcpTransport::join_lanes(std::size_t index) {
  auto& own = *handshakes_[index];
  const auto binding = LaneBinding::from(own.auth.peer_binding());
  if (binding.lane > 1) return drop_handshake(index);
  std::size_t other = handshakes_.size();
  for (std::size_t i = 0; i < handshakes_.size(); ++i) {
    const auto* one = handshakes_[i].get();
    if (i == index || one == nullptr || !one->proved) continue;
    const auto theirs = LaneBinding::from(one->auth.peer_binding());
    if (theirs.join != binding.join) continue;
    if (theirs.lane == binding.lane) return drop_handshake(index);
    other = i;
  }
  if (other == handshakes_.size()) {
    // What the peer may send already waits in the socket until there is an endpoint to read it.
    watch(epoll_, own.fd.get(), EPOLL_CTL_MOD, 0, Tag::handshake, own.id);
    return;
  }
  if (open_endpoints_ >= kEndpointsMax) {
    warn("a peer", {Errc::overloaded, "the table of endpoints is full"});
    drop_handshake(index);
    return drop_handshake(other);
  }
  auto& second = *handshakes_[other];
  auto& message = binding.lane == static_cast<std::uint64_t>(Lane::message) ? own : second;
  auto& bulk = &message == &own ? second : own;
  auto& endpoint = add_endpoint(remote_address(message.fd.get()).to_address().to_string());
  ++counters_.accepted_endpoints;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, message.fd.get(), nullptr);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, bulk.fd.get(), nullptr);
  set_features(endpoint, binding.features);
  open_lanes(endpoint, std::move(message.fd), std::move(bulk.fd), Event::Kind::accepted);
  drop_handshake(index);
  drop_handshake(other);
}

/// Both sockets must be in no epoll.
void TcpTransport::open_lanes(Endpoint& endpoint, Fd message, Fd bulk, Event::Kind kind) {
  endpoint.message = std::move(message);
  endpoint.bulk = std::move(bulk);
  endpoint.connecting.reset();
  watch(epoll_, endpoint.message.get(), EPOLL_CTL_ADD, EPOLLIN, Tag::message, endpoint.id.value);
  watch(bulk_epoll_, endpoint.bulk.get(), EPOLL_CTL_ADD, EPOLLIN, Tag::bulk, endpoint.id.value);
  completed_.push_back(
      {.kind = kind, .status = Errc::ok, .endpoint = endpoint.id, .context = 0, .frame = {}});
}

// --- Connecting ----------------------------------------------------------------------------------

Result<EndpointId> TcpTransport::connect(const Address& peer, TimePoint deadline) {
  owner_.check();
  if (open_endpoints_ >= kEndpointsMax)
    return Error{Errc::overloaded, "the table of endpoints is full"};
  auto connecting = std::make_unique<Connecting>();
  SHOAL_ASSIGN(connecting->addresses, resolve(peer, false));
  connecting->deadline = deadline;
  auto& endpoint = add_endpoint(peer.to_string());
  endpoint.connecting = std::move(connecting);
  const auto id = endpoint.id;
  connecting_.push_back(id);
  set_timer(deadline);
  if (auto status = start_attempt(endpoint); !status.ok())
    give_up_attempt(endpoint, status.error());
  return id;
}

// Both lanes are opened at once: one round trip less.
Status TcpTransport::start_attempt(Endpoint& endpoint) {
  auto& connecting = *endpoint.connecting;
  const auto& to = connecting.addresses.list[connecting.current];
  fill_random(connecting.binding.join);
  for (std::size_t lane = 0; lane < connecting.halves.size(); ++lane) {
    auto& half = connecting.halves[lane];
    half.fd.reset();
    half.up = half.proved = false;
    connecting.binding.lane = lane;
    connecting.binding.features = features();
    half.auth.emplace(Authenticator::Role::connector, token_, fresh_nonce(),
                      connecting.binding.bytes());
    SHOAL_ASSIGN(half.fd, start_connect(to, options_));
    watch(epoll_, half.fd.get(), EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT,
          lane == 0 ? Tag::connect_message : Tag::connect_bulk, endpoint.id.value);
  }
  return {};
}

void TcpTransport::on_connecting(Endpoint& endpoint, Lane lane, std::uint32_t events) {
  auto& half = endpoint.connecting->halves[static_cast<std::size_t>(lane)];
  if (!half.up && (events & (EPOLLERR | EPOLLHUP)) == 0) {
    // A port of the ephemeral range on which nobody listens may connect to itself.
    const auto to_itself =
        local_address(half.fd.get()).to_address() == remote_address(half.fd.get()).to_address();
    if (to_itself)
      return give_up_attempt(endpoint, {Errc::refused, "nobody listens there", ECONNREFUSED});
    half.up = true;
    watch(epoll_, half.fd.get(), EPOLL_CTL_MOD, EPOLLIN,
          lane == Lane::message ? Tag::connect_message : Tag::connect_bulk, endpoint.id.value);
  }
  if (half.proved) return give_up_attempt(endpoint, {Errc::peer_lost, "the peer hung up"});
  if (auto status = converse(half.fd.get(), *half.auth); !status.ok())
    return give_up_attempt(endpoint, status.error());
  if (!half.auth->done()) return;
  half.proved = true;
  // The acceptor may begin to speak as soon as it has both lanes: leave that in the socket.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, half.fd.get(), nullptr);
  connected(endpoint);
}

void TcpTransport::connected(Endpoint& endpoint) {
  auto& halves = endpoint.connecting->halves;
  if (!halves[0].proved || !halves[1].proved) return;
  std::erase(connecting_, endpoint.id);
  set_features(endpoint, LaneBinding::from(halves[0].auth->peer_binding()).features);
  open_lanes(endpoint, std::move(halves[0].fd), std::move(halves[1].fd), Event::Kind::connected);
}

void TcpTransport::give_up_attempt(Endpoint& endpoint, const Error& error) {
  auto& connecting = *endpoint.connecting;
  const bool unreachable = !connecting.halves[0].up && !connecting.halves[1].up;
  if (unreachable && connecting.current + 1 < connecting.addresses.count) {
    ++connecting.current;
    auto status = start_attempt(endpoint);
    if (!status.ok()) give_up_attempt(endpoint, status.error());
    return;
  }
  // Refused ports are what a session tries again and again while a peer restarts; a refused token
  // is an operator's mistake and must be seen.
  if (error.code == Errc::untrusted || error.code == Errc::version) complain(endpoint.peer, error);
  std::erase(connecting_, endpoint.id);
  finish(endpoint, error.code);
}

// --- Time ----------------------------------------------------------------------------------------

// timer_ is a lower bound of what is due next; here it becomes exact.
void TcpTransport::expire(TimePoint now) {
  timer_ = kNever;
  for (std::size_t i = 0; i < handshakes_.size(); ++i) {
    if (handshakes_[i] == nullptr) continue;
    const auto until = deadline_after(handshakes_[i]->since, kHandshakeDeadline);
    if (now < until) {
      set_timer(until);
      continue;
    }
    ++counters_.too_slow;
    drop_handshake(i);
  }
  for (std::size_t i = connecting_.size(); i-- > 0;) {
    auto* endpoint = find(connecting_[i]);
    if (endpoint != nullptr && endpoint->connecting != nullptr &&
        now < endpoint->connecting->deadline) {
      set_timer(endpoint->connecting->deadline);
      continue;
    }
    connecting_.erase(connecting_.begin() + static_cast<std::ptrdiff_t>(i));
    if (endpoint != nullptr) finish(*endpoint, Errc::timed_out);
  }
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    if (!listeners_[i].resting) continue;
    listeners_[i].resting = false;
    watch(epoll_, listeners_[i].fd.get(), EPOLL_CTL_MOD, EPOLLIN, Tag::listener, i);
  }
}

}  // namespace shoal::tcp
