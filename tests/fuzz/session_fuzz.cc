// Frames and events that no correct peer sends, in any order, into all that parses them above a
// transport: Session, SessionServer and SchedulerLink. Whatever comes, credits and quotas hold, and
// nothing is sent on a connection that has ended.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/wire/codec.h"
#include "tests/transport/fake_transport.h"
#include "transport/scheduler_link.h"
#include "transport/session.h"

namespace shoal {
namespace {

constexpr FrameKind kKinds[] = {
    FrameKind::hello,     FrameKind::welcome,      FrameKind::credit,     FrameKind::cancel,
    FrameKind::answer,    FrameKind::push,         FrameKind::pull,       FrameKind::scan,
    FrameKind::join,      FrameKind::heartbeat,    FrameKind::tick,       FrameKind::get_view,
    FrameKind::view,      FrameKind::global_clock, FrameKind::bulk_write, FrameKind::status,
    FrameKind::open_table};

class Fuzz {
 public:
  explicit Fuzz(std::span<const std::byte> bytes)
      : in_(bytes), server_(server_transport_, server_options()) {
    Session::Options session;
    session.peer = {"peer", 1};
    session.requests_max = kRequestsMax;
    session_.emplace(session_transport_, session);
    SchedulerLink::Options link;
    link.scheduler = {"scheduler", 1};
    link.join.incarnation = Incarnation(1);
    link.silence = std::chrono::milliseconds(100);
    link_.emplace(link_transport_, link);
  }

  void go() {
    while (in_.ok() && in_.left() > 0) {
      step();
      check();
    }
  }

 private:
  static constexpr std::uint32_t kRequestsMax = 5;
  static SessionServer::Options server_options() {
    SessionServer::Options o;
    o.incarnation = Incarnation(7);
    o.credits = 3;
    o.parked_quota = 2;
    o.peers_max = 4;
    return o;
  }
  struct Pending {
    EndpointId from;
    RequestId id;
    bool parked = false;
  };

  std::uint8_t byte() { return in_.get<std::uint8_t>(); }

  void step() {
    switch (byte() % 12) {
      case 0:
        now_ += std::chrono::milliseconds(byte());
        break;
      case 1:
        poll();
        break;
      case 2:
        session_event(event(newest(session_transport_), requests_));
        break;
      case 3:
        link_event(event(newest(link_transport_), link_requests_));
        break;
      case 4:
        accept();
        break;
      case 5:
        server_event(event(any_peer(), requests_));
        break;
      case 6:
        request();
        break;
      case 7:
        (void)session_->withdraw(any_of(requests_));
        break;
      case 8:
        session_->break_connection();
        break;
      case 9:
        answer();
        break;
      case 10:
        rooms();
        break;
      case 11:
        owner_closes();
        break;
    }
  }

  void poll() {
    session_->poll(now_);
    (void)link_->poll(now_);
    server_.poll(now_);
    (void)session_->next_timer();
    (void)link_->next_timer();
    (void)server_.next_timer();
    (void)session_->explain();
    (void)link_->explain();
  }

  Event event(EndpointId endpoint, const std::vector<RequestId>& ids) {
    const auto what = byte();
    if (what < 16) return test::FakeTransport::event(Event::Kind::connected, endpoint);
    if (what < 32)
      return test::FakeTransport::event(Event::Kind::closed, endpoint,
                                        static_cast<Errc>(1 + byte() % 28));
    if (what < 40) return test::FakeTransport::event(Event::Kind::write_done, endpoint);
    FrameHeader header;
    header.kind = kKinds[byte() % std::size(kKinds)];
    const auto which = byte();
    if (which < 200)
      header.request = any_of(ids);
    else
      header.request = RequestId(which < 220 ? 0 : in_.get<std::uint64_t>());
    header.credits = byte() < 250 ? byte() % 4 : in_.get<std::uint32_t>();
    header.status = byte() < 128 ? 0 : byte();
    header.flags = byte() < 128 ? 0 : frame_flag::kDelta;
    header.epoch = byte() < 128 ? byte() : in_.get<std::uint64_t>();
    header.clock = WorkerClock(byte());
    meta_ = bytes();
    payload_ = bytes();
    return test::FakeTransport::message(endpoint, header, meta_, payload_);
  }
  /// Most often a message that can be read; else anything.
  std::vector<std::byte> bytes() {
    const auto shape = byte();
    if (shape < 60)
      return test::meta_of(Welcome{NodeId(byte() % 2u), Incarnation(byte() % 2u), byte(), byte()});
    if (shape < 120)
      return test::meta_of(Hello{NodeId(byte() % 4u), Incarnation(byte()), Role::worker,
                                 NodeId(byte() % 2u), Incarnation(byte() < 200 ? 7u : 8u)});
    if (shape < 160) return encode_view(view_from(byte()));
    if (shape < 190) return encode_delta(view_from(byte()), view_from(byte()));
    if (shape < 200) return test::meta_of(GlobalClock{NodeId(byte()), 1});
    if (shape < 220) {
      auto joined =
          test::meta_of(Joined{NodeId(3), Rank(0), WorkerClock(0), Duration(1000), Duration(1000)});
      const auto view = encode_view(view_from(byte()));
      joined.insert(joined.end(), view.begin(), view.end());
      return joined;
    }
    const auto raw = in_.get_bytes(std::min<std::size_t>(byte(), in_.left()));
    return {raw.begin(), raw.end()};
  }
  static ClusterView view_from(std::uint8_t seed) {
    ClusterView view;
    view.epoch = {seed / 64u, seed % 64u};
    view.global_clock = WorkerClock(seed % 16);
    return view;
  }

  void session_event(const Event& event) {
    Incoming incoming;
    if (!session_->handle(event, now_, incoming)) return;
    if (incoming.kind == Incoming::Kind::answer) {
      SHOAL_ASSERT(std::erase(requests_, incoming.id) == 1, "an answer to what nobody asked");
    }
  }
  void link_event(const Event& event) {
    const auto view = link_->view();
    const auto g = link_->global_clock();
    SchedulerLink::Change change;
    (void)link_->handle(event, now_, change);
    SHOAL_ASSERT(!link_->joined() || link_->view(), "joined without a view");
    SHOAL_ASSERT(!view || link_->view()->epoch >= view->epoch, "the view went back");
    SHOAL_ASSERT(link_->global_clock() >= g, "G went back");
    if (link_->joined() && byte() < 64) {
      link_->tick({NodeId(3), WorkerClock(1), WorkerClock(2), 0, 0});
      link_->report_lost({NodeId(byte()), Incarnation(1)});
      link_->want_view({0, byte()});
    }
  }
  void server_event(const Event& event) {
    SessionServer::Served served;
    if (!server_.handle(event, now_, served)) return;
    if (served.kind == SessionServer::Kind::request)
      pending_.push_back({event.endpoint, served.frame.header.request});
    if (served.kind == SessionServer::Kind::gone) forget(event.endpoint);
  }
  void accept() {
    const auto endpoint = server_transport_.fresh();
    server_event(test::FakeTransport::event(Event::Kind::accepted, endpoint));
    peers_.push_back(endpoint);
  }
  void request() {
    const auto payload = std::as_bytes(std::span("payload"));
    const ConstMemoryView view(payload.data(), payload.size());
    const auto meta = bytes();
    const auto id =
        session_->request(test::header_of(FrameKind::push), meta, std::span(&view, byte() % 2u), 0);
    if (id.ok()) requests_.push_back(*id);
    if (!requests_.empty() && byte() < 20) {
      (void)session_->withdraw(requests_.front());
      requests_.erase(requests_.begin());
    }
  }
  void answer() {
    if (pending_.empty()) return;
    auto& one = pending_[byte() % pending_.size()];
    if (!one.parked && byte() < 80) {
      one.parked = server_.park(one.from, WorkerClock(1));
      return;
    }
    Transport::SendOptions send;
    send.lane = byte() % 2 == 0 ? Lane::message : Lane::bulk;
    send.context = 1;
    const auto sent = server_.answer(one.from, one.id, {}, {}, {}, send, one.parked);
    SHOAL_ASSERT(sent.ok(), "an answer to a living peer was refused");
    std::swap(one, pending_.back());
    pending_.pop_back();
  }
  void rooms() {
    const std::size_t rooms[] = {0, 1, 3, 1000};
    session_transport_.room = rooms[byte() % 4];
    server_transport_.room = rooms[byte() % 4];
    server_transport_.room_bulk = rooms[byte() % 4];
    link_transport_.room = rooms[byte() % 4];
  }
  void owner_closes() {
    const auto peer = any_peer();
    server_.close(peer);
    forget(peer);
  }
  void forget(EndpointId peer) {
    std::erase_if(pending_, [&](const Pending& p) { return p.from == peer; });
    while (server_.take_unsent()) {
    }
  }

  EndpointId any_peer() { return peers_.empty() ? EndpointId(1) : peers_[byte() % peers_.size()]; }
  EndpointId newest(const test::FakeTransport& transport) {
    return transport.connected.empty() ? EndpointId(1) : transport.connected.back();
  }
  RequestId any_of(const std::vector<RequestId>& ids) {
    const auto which = byte();
    return ids.empty() ? RequestId(which) : ids[which % ids.size()];
  }

  void check() {
    SHOAL_ASSERT(!session_->open() || session_->credits() <= session_->peer().credits,
                 "credits out of nowhere");
    SHOAL_ASSERT(session_->unanswered() <= kRequestsMax, "more requests than allowed");
    const auto o = server_options();
    server_.for_each([&](const SessionServer::Peer& peer) {
      SHOAL_ASSERT(peer.unanswered <= o.credits && peer.parked <= o.parked_quota,
                   "a peer beyond its credits or quota");
    });
    // The link's own requests, so that they can be answered.
    for (std::size_t i = 0; i < link_transport_.sent_count(); ++i)
      if (const auto id = link_transport_.sent(i).header.request; id.value != 0)
        link_requests_.push_back(id);
    if (link_requests_.size() > 4)
      link_requests_.erase(link_requests_.begin(), link_requests_.end() - 4);
    no_late_frames(session_transport_);
    no_late_frames(server_transport_);
    no_late_frames(link_transport_);
  }
  /// FakeTransport takes frames for any endpoint; a real one would refuse them as closed.
  static void no_late_frames(test::FakeTransport& transport) {
    for (std::size_t i = 0; i < transport.sent_count(); ++i)
      SHOAL_ASSERT(!transport.sent(i).late, "a frame on a connection that had ended");
    transport.forget();
    if (transport.closed.size() > 64) transport.closed.clear();
  }

  Reader in_;
  TimePoint now_ = test::at_ms(1000);
  test::FakeTransport session_transport_, server_transport_, link_transport_;
  std::optional<Session> session_;
  SessionServer server_;
  std::optional<SchedulerLink> link_;
  std::vector<std::byte> meta_, payload_;
  std::vector<EndpointId> peers_;
  std::vector<RequestId> requests_, link_requests_;
  std::vector<Pending> pending_;
};

}  // namespace
}  // namespace shoal

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  shoal::Fuzz(std::as_bytes(std::span(data, size))).go();
  return 0;
}
