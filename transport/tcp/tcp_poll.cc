#include <errno.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "transport/tcp/tcp_transport.h"
#include "transport/waker.h"

// One turn of the transport: the hot path.

namespace shoal::tcp {

namespace {

constexpr std::uint64_t kIdMask = (1ull << 56) - 1;

/// What the socket takes of the iovecs; -1 with errno.
ssize_t send_some(int fd, std::span<iovec> iovecs) {
  for (;;) {
    ssize_t n = 0;
    if (iovecs.size() == 1) {
      n = ::send(fd, iovecs[0].iov_base, iovecs[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      msghdr message{};
      message.msg_iov = iovecs.data();
      message.msg_iovlen = iovecs.size();
      n = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (n >= 0 || errno != EINTR) return n;
  }
}

ssize_t receive_some(int fd, std::span<iovec> iovecs) {
  for (;;) {
    ssize_t n = 0;
    if (iovecs.size() == 1) {
      n = ::recv(fd, iovecs[0].iov_base, iovecs[0].iov_len, MSG_DONTWAIT);
    } else {
      msghdr message{};
      message.msg_iov = iovecs.data();
      message.msg_iovlen = iovecs.size();
      n = ::recvmsg(fd, &message, MSG_DONTWAIT);
    }
    if (n >= 0 || errno != EINTR) return n;
  }
}

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

/// The first `bytes` of them.
std::span<iovec> cut_to(std::span<iovec> iovecs, std::size_t bytes) {
  for (std::size_t i = 0; i < iovecs.size(); ++i) {
    if (iovecs[i].iov_len >= bytes) {
      iovecs[i].iov_len = bytes;
      return iovecs.first(i + 1);
    }
    bytes -= iovecs[i].iov_len;
  }
  return iovecs;
}

std::size_t bytes_of(std::span<const iovec> iovecs) {
  std::size_t bytes = 0;
  for (const auto& part : iovecs) bytes += part.iov_len;
  return bytes;
}

}  // namespace

std::size_t TcpTransport::poll(std::span<Event> events) {
  owner_.check();
  ++turn_;
  closed_.clear();
  const auto now = clock_.now();
  if (now >= timer_) expire(now);
  Out out{events};
  flush_dirty();
  report_completed(out);
  serve_backlog(out);
  if (!out.full()) receive(now, out);
  if (!failing_.empty()) drain_failing(out);
  idle_ = out.count == 0 && dirty_.empty();
  // Answers to READs that have just come in, and refusals.
  flush_dirty();
  report_completed(out);
  return out.count;
}

void TcpTransport::flush() {
  owner_.check();
  flush_dirty();
}

void TcpTransport::wait(const Waker* waker, Duration at_most) {
  owner_.check();
  watch_waker(waker);
  const bool limited = at_most != Duration::max();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(at_most);
  const timespec timeout{seconds.count(), (at_most - seconds).count()};
  auto count = ::epoll_pwait2(epoll_.get(), ready_.data(), kMessageSocketsPerTurn,
                              limited ? &timeout : nullptr, nullptr);
  if (count < 0 && errno == ENOSYS) {  // before Linux 5.11
    constexpr auto kRound = std::chrono::milliseconds(1) - Duration(1);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::min<Duration>(at_most, std::chrono::hours(1)) + kRound);
    count = ::epoll_wait(epoll_.get(), ready_.data(), kMessageSocketsPerTurn,
                         limited ? static_cast<int>(ms.count()) : -1);
  }
  ready_count_ = count < 0 ? 0 : static_cast<std::size_t>(count);
  look_ = Look::told;
}

// A waker stays in epoll until it is closed: by then its number may be another descriptor's.
void TcpTransport::watch_waker(const Waker* waker) {
  if (waker == nullptr || waker->id() == waker_) return;
  waker_ = waker->id();
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tagged(Tag::waker, 0);
  const bool watched = ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, waker->fd(), &event) == 0;
  SHOAL_ASSERT(watched || errno == EEXIST,
               "epoll_ctl: raise fs.epoll.max_user_watches or free memory");
}

void TcpTransport::report_completed(Out& out) {
  while (!completed_.empty() && !out.full()) {
    const auto& event = completed_.front();
    if (event.endpoint != EndpointId{}) out.next() = event;  // else: close() took it back
    completed_.pop_front();
  }
}

// --- Sending -------------------------------------------------------------------------------------

// Messages of all first. Then a bounded number of bulk lanes: who had a turn gets the next one
// after those who had none.
void TcpTransport::flush_dirty() {
  if (dirty_.empty()) return;
  for (const auto id : dirty_)
    if (auto* endpoint = find(id)) flush_messages(*endpoint);
  scratch_.clear();
  scratch_.swap(dirty_);
  int bulk_turns = 0;
  std::size_t had_turns = 0;  // of dirty_
  for (const auto id : scratch_) {
    auto* endpoint = find(id);
    if (endpoint == nullptr) continue;
    endpoint->dirty = false;
    if (!endpoint->bulk_out.empty() && !endpoint->bulk_blocked) {
      if (bulk_turns++ < kBulkSocketsPerTurn) flush_bulk(*endpoint);
      endpoint = find(id);
      if (endpoint == nullptr || endpoint->failing != Errc::ok) continue;
    }
    const bool bulk_left = !endpoint->bulk_out.empty() && !endpoint->bulk_blocked;
    const bool messages_left = !endpoint->out.empty() && !endpoint->message_blocked;
    if (bulk_left || messages_left) mark_dirty(*endpoint);
    if (bulk_turns <= kBulkSocketsPerTurn) had_turns = dirty_.size();
  }
  if (bulk_turns <= kBulkSocketsPerTurn) return;
  std::rotate(dirty_.begin(), dirty_.begin() + static_cast<std::ptrdiff_t>(had_turns),
              dirty_.end());
}

void TcpTransport::flush_messages(Endpoint& endpoint) {
  if (endpoint.failing != Errc::ok || endpoint.message_blocked) return;
  constexpr std::size_t kTurnBytes = 2 * kMessageTurnBytes;
  std::array<iovec, kIovecsMax> iovecs;
  for (std::size_t moved = 0; !endpoint.out.empty() && moved < kTurnBytes;) {
    const auto count = endpoint.out.gather(iovecs, kMessageTurnBytes);
    const auto described = std::span(iovecs).first(count);
    const auto wanted = bytes_of(described);
    const auto n = send_some(endpoint.message.get(), described);
    if (n < 0 && !would_block(errno)) return fail(endpoint, errc_of(errno));
    const auto sent = n < 0 ? std::size_t{0} : static_cast<std::size_t>(n);
    endpoint.out.advance(sent, [&](const Completion& done) { endpoint.complete(done, Errc::ok); });
    if (sent < wanted) return block_messages(endpoint, true);
    moved += sent;
  }
}

void TcpTransport::flush_bulk(Endpoint& endpoint) {
  if (endpoint.failing != Errc::ok) return;
  std::array<iovec, kIovecsMax> iovecs;
  // A turn ends with a frame, so that a revoke finds none half out as long as the socket has room.
  const auto turn = options_.bulk_turn_bytes;
  for (std::size_t moved = 0; moved < turn;) {
    if (!endpoint.bulk_out.cut(regions_, turn)) return fail(endpoint, Errc::revoked);
    const auto count = endpoint.bulk_out.gather(iovecs, turn);
    if (count == 0) return;
    const auto described = std::span(iovecs).first(count);
    const auto wanted = bytes_of(described);
    const auto n = send_some(endpoint.bulk.get(), described);
    if (n < 0 && !would_block(errno)) return fail(endpoint, errc_of(errno));
    const auto sent = n < 0 ? std::size_t{0} : static_cast<std::size_t>(n);
    endpoint.bulk_out.advance(sent,
                              [&](const Completion& done) { endpoint.complete(done, Errc::ok); });
    if (sent < wanted) return block_bulk(endpoint, true);
    moved += sent;
  }
}

void TcpTransport::block_messages(Endpoint& endpoint, bool blocked) {
  if (endpoint.message_blocked == blocked) return;
  endpoint.message_blocked = blocked;
  for (auto& hot : hot_)
    if (hot.endpoint == endpoint.id) watch_again(hot);
  watch(epoll_, endpoint.message.get(), EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN,
        Tag::message, endpoint.id.value);
}

void TcpTransport::block_bulk(Endpoint& endpoint, bool blocked) {
  if (endpoint.bulk_blocked == blocked) return;
  endpoint.bulk_blocked = blocked;
  watch(bulk_epoll_, endpoint.bulk.get(), EPOLL_CTL_MOD, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN,
        Tag::bulk, endpoint.id.value);
}

// --- Receiving -----------------------------------------------------------------------------------

// Frames that came in earlier but found no room among the events.
void TcpTransport::serve_backlog(Out& out) {
  if (backlog_.empty()) return;
  scratch_.clear();
  scratch_.swap(backlog_);
  for (const auto id : scratch_) {
    auto* endpoint = find(id);
    if (endpoint == nullptr) continue;
    endpoint->in_backlog = false;
    endpoint->in.begin_turn(turn_);
    if (!deliver_messages(*endpoint, out)) continue;
    if (auto status = endpoint->bulk_in.begin_turn(turn_); !status.ok()) {
      finish(*endpoint, status.error().code);
      continue;
    }
    if (deliver_bulk(*endpoint, out) && endpoint->bulk_in.stalled()) mark_backlog(*endpoint);
  }
}

// Spinning on few connections, a direct recv finds a message sooner than epoll_wait and recv would.
// The others are looked at often enough not to notice. Who blocks in wait() is told what is ready,
// and asks nothing before the next wait, which returns at once if there is more.
void TcpTransport::receive(TimePoint now, Out& out) {
  if (look_ == Look::told) {
    look_ = Look::served;
    return serve(now, ready_count_, out);
  }
  if (std::exchange(look_, Look::needed) == Look::served) return;
  const bool tried = !crowded_ && hot_[0].endpoint != EndpointId{};
  const bool got = tried && try_hot(out);
  if (out.full()) return;
  const auto gap = got ? kLookAroundBusy : kLookAround;
  if (!tried || last_look_ == TimePoint::min() || now - last_look_ >= gap) look_around(now, out);
}

bool TcpTransport::try_hot(Out& out) {
  bool got = false;
  for (int tries = idle_ ? kIdleTries : 1; tries > 0 && !got; --tries) {
    for (auto& hot : hot_) {
      auto* endpoint = find(hot.endpoint);
      if (endpoint == nullptr || hot.overheard > kHotSilence) {
        watch_again(hot);
        hot = {};
        continue;
      }
      got |= receive_messages(*endpoint, out);
    }
  }
  if (hot_[0].endpoint == EndpointId{}) std::swap(hot_[0], hot_[1]);
  return got;
}

void TcpTransport::look_around(TimePoint now, Out& out) {
  const int count = ::epoll_wait(epoll_.get(), ready_.data(), kMessageSocketsPerTurn, 0);
  serve(now, count < 0 ? 0 : static_cast<std::size_t>(count), out);
}

// What epoll told, in ready_.
void TcpTransport::serve(TimePoint now, std::size_t count, Out& out) {
  last_look_ = now;
  bool bulk_ready = false;
  std::size_t speakers = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto data = ready_[i].data.u64;
    const auto events = ready_[i].events;
    const auto tag = static_cast<Tag>(data >> 56);
    const auto id = data & kIdMask;
    switch (tag) {
      case Tag::message:
        if (auto* endpoint = find(EndpointId(id))) {
          if ((events & EPOLLOUT) != 0) {
            block_messages(*endpoint, false);
            flush_messages(*endpoint);
            if (!endpoint->out.empty() && !endpoint->message_blocked) mark_dirty(*endpoint);
          }
          if ((events & ~EPOLLOUT) != 0) {
            ++speakers;
            receive_messages(*endpoint, out);
          }
        }
        break;
      case Tag::bulk_epoll:
        bulk_ready = true;
        break;
      case Tag::listener:
        accept_all(id, now);
        break;
      case Tag::handshake:
        on_handshake(id);
        break;
      case Tag::connect_message:
      case Tag::connect_bulk:
        if (auto* endpoint = find(EndpointId(id)); endpoint != nullptr && endpoint->connecting)
          on_connecting(*endpoint, tag == Tag::connect_bulk ? Lane::bulk : Lane::message, events);
        break;
      case Tag::bulk:   // only in the inner epoll
      case Tag::waker:  // its owner's affair
        break;
    }
  }
  crowded_ = speakers > kHotSockets;
  if (crowded_)
    for (auto& hot : hot_) watch_again(hot);
  if (bulk_ready) serve_bulk(out);
}

void TcpTransport::serve_bulk(Out& out) {
  std::array<epoll_event, kBulkSocketsPerTurn> ready;
  const int count = ::epoll_wait(bulk_epoll_.get(), ready.data(), kBulkSocketsPerTurn, 0);
  for (int i = 0; i < count; ++i) {
    const auto events = ready[static_cast<std::size_t>(i)].events;
    const EndpointId id(ready[static_cast<std::size_t>(i)].data.u64 & kIdMask);
    auto* endpoint = find(id);
    if (endpoint == nullptr) continue;
    if ((events & ~EPOLLOUT) != 0) receive_bulk(*endpoint, out);
    endpoint = find(id);
    if (endpoint == nullptr || endpoint->failing != Errc::ok || (events & EPOLLOUT) == 0) continue;
    block_bulk(*endpoint, false);
    mark_dirty(*endpoint);
  }
}

// True if anything came. One recv a turn: what is left, epoll tells again.
bool TcpTransport::receive_messages(Endpoint& endpoint, Out& out) {
  if (out.full()) return false;
  endpoint.in.begin_turn(turn_);
  const auto space = endpoint.in.space();
  if (space.empty()) return false;
  iovec to{space.data(), space.size()};
  const auto n = receive_some(endpoint.message.get(), std::span(&to, 1));
  if (n > 0) {
    endpoint.in.received(static_cast<std::size_t>(n));
    remember_hot(endpoint);
    deliver_messages(endpoint, out);
    return true;
  }
  if (n < 0 && would_block(errno)) {
    if (endpoint.failing != Errc::ok) finish(endpoint, endpoint.failing);
    return false;
  }
  const auto why = n == 0 ? Errc::peer_lost : errc_of(errno);
  finish(endpoint, endpoint.failing != Errc::ok ? endpoint.failing : why);
  return false;
}

// False if the endpoint is gone.
bool TcpTransport::deliver_messages(Endpoint& endpoint, Out& out) {
  while (!out.full()) {
    FrameView frame;
    const auto next = endpoint.in.next(frame);
    if (next == MessageReceiver::Next::none) return true;
    if (next == MessageReceiver::Next::failed) {
      finish(endpoint, endpoint.in.error().code);
      return false;
    }
    const auto kind = frame.header.kind;
    if (!is_transport_kind(kind) || (endpoint.paths && is_path_kind(kind))) {
      out.next() = {.kind = Event::Kind::message,
                    .status = Errc::ok,
                    .endpoint = endpoint.id,
                    .context = 0,
                    .frame = frame};
    } else if (frame.header.kind == FrameKind::bulk_read &&
               frame.header.meta_bytes == sizeof(BulkMeta) && frame.header.payload_bytes == 0 &&
               endpoint.bulk_out.has_room_for_answer()) {
      on_bulk_read(endpoint, frame);
    } else {
      finish(endpoint, Errc::protocol);
      return false;
    }
  }
  mark_backlog(endpoint);
  return true;
}

void TcpTransport::on_bulk_read(Endpoint& endpoint, const FrameView& frame) {
  BulkMeta meta;
  std::memcpy(&meta, frame.meta.data(), sizeof meta);
  endpoint.bulk_out.post_answer(meta);
  if (endpoint.failing == Errc::ok) mark_dirty(endpoint);
}

void TcpTransport::receive_bulk(Endpoint& endpoint, Out& out) {
  if (endpoint.failing != Errc::ok) return;
  if (auto status = endpoint.bulk_in.begin_turn(turn_); !status.ok())
    return finish(endpoint, status.error().code);
  const auto turn = options_.bulk_turn_bytes;
  for (std::size_t moved = 0; moved < turn;) {
    std::array<iovec, 2> iovecs;
    const auto count = endpoint.bulk_in.prepare(iovecs);
    if (count == 0) break;
    const auto described = cut_to(std::span(iovecs).first(count), turn - moved);
    const auto n = receive_some(endpoint.bulk.get(), described);
    if (n < 0 && would_block(errno)) break;
    if (n <= 0) {
      // The peer closes its message lane first: whatever it said there has arrived.
      if (!deliver_bulk(endpoint, out)) return;
      return fail(endpoint, n == 0 ? Errc::peer_lost : errc_of(errno));
    }
    if (auto status = endpoint.bulk_in.received(static_cast<std::size_t>(n)); !status.ok())
      return finish(endpoint, status.error().code);
    moved += static_cast<std::size_t>(n);
    if (static_cast<std::size_t>(n) < bytes_of(described)) break;
  }
  if (deliver_bulk(endpoint, out) && endpoint.bulk_in.stalled()) mark_backlog(endpoint);
}

// False if the endpoint is gone.
bool TcpTransport::deliver_bulk(Endpoint& endpoint, Out& out) {
  while (!out.full()) {
    FrameView frame;
    const auto next = endpoint.bulk_in.next(frame);
    if (next == MessageReceiver::Next::none) return true;
    if (next == MessageReceiver::Next::failed) {
      finish(endpoint, endpoint.bulk_in.error().code);
      return false;
    }
    out.next() = {.kind = Event::Kind::message,
                  .status = Errc::ok,
                  .endpoint = endpoint.id,
                  .context = 0,
                  .frame = frame};
  }
  mark_backlog(endpoint);
  return true;
}

// Lost endpoints end when their last messages have been reported.
void TcpTransport::drain_failing(Out& out) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < failing_.size(); ++i) {
    const auto id = failing_[i];
    // finish() comes out of receive_messages() once the lane is dry.
    while (auto* endpoint = find(id)) {
      if (out.full() || endpoint->in_backlog || !receive_messages(*endpoint, out)) break;
    }
    if (find(id) != nullptr) failing_[kept++] = id;
  }
  failing_.resize(kept);
}

// `endpoint` has brought something.
void TcpTransport::remember_hot(const Endpoint& endpoint) {
  HotSocket* place = nullptr;
  for (auto& hot : hot_) {
    ++hot.overheard;
    if (hot.endpoint == endpoint.id || (place == nullptr && hot.endpoint == EndpointId{}))
      place = &hot;
  }
  if (place == nullptr) place = &hot_[next_hot_++ % kHotSockets];
  if (place->endpoint != endpoint.id) {
    watch_again(*place);
    *place = {.endpoint = endpoint.id};
  }
  place->overheard = 0;
  if (!place->watched || ++place->streak < kHotStreak || crowded_ || endpoint.message_blocked)
    return;
  place->watched = false;
  watch(epoll_, endpoint.message.get(), EPOLL_CTL_DEL, 0, Tag::message, endpoint.id.value);
}

void TcpTransport::watch_again(HotSocket& hot) {
  hot.streak = 0;
  if (std::exchange(hot.watched, true)) return;
  if (const auto* endpoint = find(hot.endpoint))
    watch(epoll_, endpoint->message.get(), EPOLL_CTL_ADD, EPOLLIN, Tag::message,
          endpoint->id.value);
}

}  // namespace shoal::tcp
