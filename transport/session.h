#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/cluster/messages.h"
#include "core/wire/frame.h"
#include "transport/transport.h"

// Request and answer over an endpoint that may break: ids, credits, reconnects and repeats. All that
// servers, workers and the scheduler see of the network, but for the bulk bytes, which they read and
// write on the session's endpoint. See docs/design/sessions.md.

namespace shoal {

/// What a session made of an event.
struct Incoming {
  enum class Kind : std::uint8_t {
    nothing,   ///< Handled inside.
    opened,    ///< Hello and welcome are done, first or again; unanswered requests were repeated.
    broken,    ///< The connection is gone (`status`); a new one will be tried. Loans have ended.
    stranger,  ///< Another process answers at the peer's address: who was expected is gone for good.
    refused,   ///< The peer's port refuses connections (reported at each try): seen dead.
    answer,    ///< The end of the request `id`, once each; `context` as given, `frame` the answer.
    notice,    ///< A one-way frame of the peer (view, global_clock, credit: for header.clock).
    bulk,      ///< A read() or write() that the owner posted on the endpoint ended: see the event.
  };
  Kind kind = Kind::nothing;
  Errc status = Errc::ok;
  RequestId id;
  std::uint64_t context = 0;
  FrameView frame;
};

/// The requesting side: one peer, one connection at a time. Requests are sent in the order in which
/// they were made, each when a credit is there, and kept until they are answered or withdrawn; after a
/// reconnect those unanswered are sent again, the same bytes, in the same order. Deadlines of
/// requests are their owner's; the session has those of connecting and of the peer's silence.
/// Belongs to one loop; allocates only until its tables have reached `requests_max`.
class Session {
 public:
  struct Options {
    Address peer;
    Hello hello;  ///< Who we are, whom we expect.
    std::uint32_t requests_max = 1024;  ///< unanswered or queued; more is Errc::overloaded
    std::uint32_t meta_bytes_max = 64u << 10;  ///< of one request
    Duration connect_timeout = std::chrono::seconds(5);   ///< of one try
    Duration backoff_min = std::chrono::milliseconds(10);  ///< between tries, doubled up to max,
    Duration backoff_max = std::chrono::seconds(1);        ///< with jitter
    std::uint64_t seed = 1;  ///< of the jitter
  };
  Session(Transport& transport, Options options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Queues or sends a request. `meta` is copied; `payload` is the session's until the answer, or
  /// until withdraw() or close() end the loan. Fills in header.request. Errors: overloaded,
  /// invalid_argument (meta too large), closed.
  Result<RequestId> request(FrameHeader header, std::span<const std::byte> meta,
                            std::span<const ConstMemoryView> payload, std::uint64_t context);
  /// Forgets a request: no answer will be reported. True: it was never on any wire, so the peer
  /// cannot know of it and nothing of its payload was sent. False: it was, perhaps; the payload may
  /// still be lent to the transport: only break_connection() ends that loan at once.
  bool withdraw(RequestId id);
  /// Whether a request is, or was, on a wire: false while it waits for a credit or a connection.
  bool was_sent(RequestId id) const;
  /// A frame without an answer, sent if the session is open, else dropped (tick, cancel: newest wins
  /// or idempotent). Takes no credit.
  Status send_notice(const FrameHeader& header, std::span<const std::byte> meta);
  /// Ends every loan of this connection now and reconnects; unanswered requests are repeated.
  void break_connection();
  /// Ends every loan and never reconnects. Requests end without a report.
  void close();

  /// Time-driven work: connecting, repeating. Call each turn.
  void poll(TimePoint now);
  TimePoint next_timer() const;
  /// True if the event was this session's; then `incoming` says what it meant.
  bool handle(const Event& event, TimePoint now, Incoming& incoming);

  bool open() const;
  /// For read() and write() of the owner; changes with each reconnect. Invalid (0) while not open.
  EndpointId endpoint() const;
  const Welcome& peer() const;  ///< Who welcomed us last.
  TimePoint last_heard() const;  ///< When the last frame of the peer came.
  std::uint32_t unanswered() const;
  std::uint32_t credits() const;
  std::string explain() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The answering side: every endpoint that others opened to us. Checks hellos, hands out credits,
/// names requests, drops the state of connections that end.
class SessionServer {
 public:
  struct Options {
    NodeId node;  ///< Who we are; may be set later by `set_identity`.
    Incarnation incarnation;
    std::uint32_t credits = 64;        ///< requests of one peer that may be unanswered and not parked
    std::uint32_t parked_quota = 256;  ///< parked requests of one peer
    std::uint32_t peers_max = 8192;
    Duration hello_timeout = std::chrono::seconds(5);
  };
  /// A peer's connection; lives until `gone`.
  struct Peer {
    EndpointId endpoint;
    NodeId node;  ///< As it said; 0 before it has joined.
    Incarnation incarnation;
    Role role = Role::worker;
    std::uint32_t unanswered = 0;
    std::uint32_t parked = 0;
    TimePoint last_heard{};
    bool greeted = false;
  };
  enum class Kind : std::uint8_t { nothing, greeted, request, notice, gone, bulk };
  struct Served {
    Kind kind = Kind::nothing;
    Errc status = Errc::ok;
    Peer* peer = nullptr;  ///< `gone`: for the last time.
    FrameView frame;
  };

  SessionServer(Transport& transport, Options options);
  ~SessionServer();

  void set_identity(NodeId node, Incarnation incarnation);
  /// True if the event was of an accepted endpoint. A request beyond the peer's credits loses it its
  /// session (Errc::protocol).
  bool handle(const Event& event, TimePoint now, Served& served);
  /// Ends a request: fills in kind, credits (1 unless it was parked), request. Lane::bulk puts it
  /// behind the writes of its data. Errors: closed (the peer is gone: nobody waits).
  Status answer(EndpointId to, RequestId request, FrameHeader header,
                std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                const Transport::SendOptions& options, bool was_parked);
  /// Gives a parked request's credit back at once, while the peer's quota lasts. False: over quota;
  /// the credit stays with the request.
  bool park(EndpointId from, WorkerClock global_clock);
  Status send_notice(EndpointId to, const FrameHeader& header, std::span<const std::byte> meta);
  void close(EndpointId peer);

  void poll(TimePoint now);
  TimePoint next_timer() const;
  Peer* find(EndpointId endpoint);
  Peer* find(NodeId node);
  /// Calls f(Peer&) for every greeted peer, in the order of accepting.
  template <class F>
  void for_each(F&& f) {
    for (auto& peer : peers())
      if (peer->greeted) f(*peer);
  }

 private:
  std::vector<std::unique_ptr<Peer>>& peers();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shoal
