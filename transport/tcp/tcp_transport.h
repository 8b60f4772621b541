#pragma once

#include <sys/epoll.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/base/owner.h"
#include "transport/tcp/endpoint.h"
#include "transport/tcp/tcp.h"

namespace shoal::tcp {

/// Everything on one loop's sockets. Two epoll instances: the outer one holds listeners,
/// handshakes, message lanes and the inner one, which holds the bulk lanes. So messages are always
/// served first, and bulk sockets take turns (epoll rotates what is ready) a bounded number at a
/// time. Both are level triggered: what a bounded turn leaves unread is told again, so nothing has
/// to be remembered. Sockets that a spinning poll keeps finding messages on are in none of them, as
/// a wait queue that nobody waits in costs each message some 100 ns; arm() puts them back.
///
/// poll() reads top to bottom in tcp_poll.cc; strangers are dealt with in tcp_handshake.cc.
class TcpTransport final : public Transport {
 public:
  /// As create_tcp().
  static Result<std::unique_ptr<TcpTransport>> create(const TcpOptions& options,
                                                      const Clock& clock);
  TcpTransport(Token token, TcpOptions options, const Clock& clock, Fd epoll, Fd bulk_epoll,
               std::uint64_t region_salt);
  ~TcpTransport() override;

  std::string_view name() const override { return "tcp"; }
  Result<Address> listen(const Address& at) override;
  Result<EndpointId> connect(const Address& peer, TimePoint deadline) override;
  void close(EndpointId endpoint) override;
  std::string peer_of(EndpointId endpoint) const override;
  std::string explain(EndpointId endpoint) const override;
  Result<Region> register_memory(MemoryView memory, Access access) override;
  Status send(EndpointId endpoint, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload, const SendOptions& options) override;
  Status read(EndpointId endpoint, MemoryView to, const RemoteSpan& from,
              std::uint64_t context) override;
  Status write(EndpointId endpoint, ConstMemoryView from, const RemoteSpan& to,
               std::uint64_t context) override;
  std::size_t poll(std::span<Event> events) override;
  void flush() override;
  int wait_fd() const override { return epoll_.get(); }
  bool arm() override;
  void wait(const Waker* waker, Duration at_most) override;
  TimePoint next_timer() const override { return timer_; }
  void release_owner() override { owner_.release(); }

  /// Whether both sides of an endpoint that is up negotiate faster paths (TcpOptions::paths).
  bool has_paths(EndpointId endpoint) const;
  /// Whether the peer of such an endpoint only coordinates (TcpOptions::control).
  bool is_control(EndpointId endpoint) const;
  /// wait() returns, too, when `fd` is readable, until it is closed. What it has to say is its
  /// owner's affair.
  void watch_also(int fd) const;

 private:
  /// What an epoll event is about.
  enum class Tag : std::uint8_t {
    listener,
    handshake,
    connect_message,
    connect_bulk,
    message,
    bulk,
    bulk_epoll,
    waker
  };
  /// What a poll knows about the sockets: nothing, what wait() has told, or that all of that was
  /// served a moment ago.
  enum class Look : std::uint8_t { needed, told, served };
  struct EndpointSlot {
    std::unique_ptr<Endpoint> endpoint;
    std::uint64_t generation = 0;
  };
  /// An accepted connection that has not become half of an endpoint.
  struct Handshake {
    Fd fd;
    TimePoint since;
    std::uint64_t id = 0;  ///< index and a number never reused: a late epoll event finds nothing
    bool proved = false;   ///< waits for its other lane
    Authenticator auth;
  };
  struct Listener {
    Fd fd;
    bool resting = false;
  };
  /// A message socket that a spinning poll tries directly.
  struct HotSocket {
    EndpointId endpoint;          ///< none: free
    std::uint32_t overheard = 0;  ///< messages that others have brought since it brought one
    std::uint32_t streak = 0;     ///< receives that brought something since the last arm()
    bool watched = true;          ///< by epoll, too
  };
  /// The events of one poll.
  struct Out {
    std::span<Event> events;
    std::size_t count = 0;
    bool full() const { return count == events.size(); }
    Event& next() { return events[count++]; }
  };

  RemoteSpan remote_span(std::uint64_t region, std::size_t offset,
                         std::size_t length) const override;
  void revoke(std::uint64_t region) override;

  std::uint64_t features() const {
    return (options_.paths ? kFeaturePaths : 0) | (options_.control ? kFeatureControl : 0);
  }
  void set_features(Endpoint& endpoint, std::uint64_t of_peer) const {
    endpoint.features = of_peer;
    endpoint.paths = options_.paths && (of_peer & kFeaturePaths) != 0;
  }

  // tcp_transport.cc
  Endpoint* find(EndpointId id) const;
  Endpoint* find_usable(EndpointId id) const;  ///< null unless it can be sent on
  Endpoint& add_endpoint(std::string peer);
  void finish(Endpoint& endpoint, Errc why, bool by_owner = false);
  void fail(Endpoint& endpoint, Errc why);
  void mark_dirty(Endpoint& endpoint);
  void mark_backlog(Endpoint& endpoint);
  void watch(const Fd& in, int fd, int operation, std::uint32_t events, Tag tag,
             std::uint64_t id) const;
  static std::uint64_t tagged(Tag tag, std::uint64_t id);

  // tcp_poll.cc
  void watch_waker(const Waker* waker);
  void report_completed(Out& out);
  void flush_dirty();
  void flush_messages(Endpoint& endpoint);
  void flush_bulk(Endpoint& endpoint);
  void block_messages(Endpoint& endpoint, bool blocked);
  void block_bulk(Endpoint& endpoint, bool blocked);
  void serve_backlog(Out& out);
  void receive(TimePoint now, Out& out);
  bool try_hot(Out& out);
  void look_around(TimePoint now, Out& out);
  void serve(TimePoint now, std::size_t count, Out& out);
  void serve_bulk(Out& out);
  bool receive_messages(Endpoint& endpoint, Out& out);
  bool deliver_messages(Endpoint& endpoint, Out& out);
  void on_bulk_read(Endpoint& endpoint, const FrameView& frame);
  void receive_bulk(Endpoint& endpoint, Out& out);
  bool deliver_bulk(Endpoint& endpoint, Out& out);
  void drain_failing(Out& out);
  void remember_hot(const Endpoint& endpoint);
  void watch_again(HotSocket& hot);

  // tcp_handshake.cc
  void expire(TimePoint now);
  void set_timer(TimePoint at) { timer_ = std::min(timer_, at); }
  void accept_all(std::size_t listener, TimePoint now);
  bool make_room_for_stranger(Listener& listener, TimePoint now);
  void rest(Listener& listener, TimePoint until);
  void on_handshake(std::uint64_t id);
  void give_up_handshake(std::size_t index, const Error& error);
  void drop_handshake(std::size_t index);
  void join_lanes(std::size_t index);
  bool drop_oldest_stranger();
  Status start_attempt(Endpoint& endpoint);
  void give_up_attempt(Endpoint& endpoint, const Error& error);
  void on_connecting(Endpoint& endpoint, Lane lane, std::uint32_t events);
  void connected(Endpoint& endpoint);
  void open_lanes(Endpoint& endpoint, Fd message, Fd bulk, Event::Kind kind);
  void warn(const std::string& peer, const Error& error);
  void complain(const std::string& peer, const Error& error);

  const Token token_;
  const TcpOptions options_;
  const Clock& clock_;
  TcpCounters own_counters_;
  TcpCounters& counters_;
  Fd epoll_;
  Fd bulk_epoll_;
  Owner owner_;
  RegionTable regions_;
  Ring<Event> completed_;  ///< waits for a poll with room
  std::unique_ptr<std::byte[]> discard_;

  std::vector<EndpointSlot> endpoints_;
  std::vector<std::uint32_t> free_endpoints_;
  /// Closed since the last poll began: its events may still point into their buffers.
  std::vector<std::unique_ptr<Endpoint>> closed_;
  std::vector<EndpointId> dirty_;
  std::vector<EndpointId> backlog_;
  std::vector<EndpointId> failing_;
  std::vector<EndpointId> scratch_;
  std::vector<EndpointId> connecting_;
  std::size_t open_endpoints_ = 0;

  std::vector<Listener> listeners_;
  std::vector<std::unique_ptr<Handshake>> handshakes_;  ///< null: free
  std::size_t strangers_ = 0;                           ///< of them not proved
  std::uint64_t handshake_number_ = 0;
  TimePoint last_warning_ = TimePoint::min();
  std::uint64_t warnings_held_back_ = 0;
  struct Complaint {
    TimePoint told{};
    std::uint64_t held_back = 0;
  };
  std::map<std::string, Complaint> complaints_;  ///< by peer

  std::uint64_t turn_ = 0;
  TimePoint timer_ = kNever;
  TimePoint last_look_ = TimePoint::min();
  Look look_ = Look::needed;
  std::array<epoll_event, kMessageSocketsPerTurn> ready_;
  std::size_t ready_count_ = 0;  ///< of what wait() has told
  std::uint64_t waker_ = 0;      ///< the last one that wait() was given
  std::array<HotSocket, kHotSockets> hot_{};
  std::size_t next_hot_ = 0;
  bool idle_ = false;     ///< the last poll found nothing and had nothing to send
  bool crowded_ = false;  ///< many message sockets were ready at once: asking epoll is cheaper
};

}  // namespace shoal::tcp
