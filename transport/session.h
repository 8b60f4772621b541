#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/cluster/messages.h"
#include "core/wire/frame.h"
#include "transport/transport.h"

// Request and answer over an endpoint that may break: ids, credits, reconnects and repeats. All
// that servers, workers and the scheduler see of the network, but for the bulk bytes, which they
// read and write on the session's endpoint. See docs/design/sessions.md.

namespace shoal {

/// What a session made of an event.
struct Incoming {
  enum class Kind : std::uint8_t {
    nothing,   ///< Handled inside. A try to connect that failed leaves its reason in `status`.
    opened,    ///< Hello and welcome are done, first or again; unanswered requests were repeated.
    broken,    ///< The connection is gone (`status`); a new one will be tried. Loans have ended.
    stranger,  ///< Another process answers at the peer's address: who was expected is gone for good
               ///< (reported at each try).
    refused,   ///< The peer's port refuses connections (reported at each try): seen dead.
    answer,    ///< The end of the request `id`, once each; `context` as given, `frame` the answer.
    notice,    ///< A one-way frame of the peer (view, global_clock, credit: for header.clock).
    bulk,      ///< A read() or write() that the owner posted on the endpoint ended: see the event.
  };
  Kind kind = Kind::nothing;
  Errc status = Errc::ok;  ///< of a try that failed also version and untrusted: it cannot work
  RequestId id;
  std::uint64_t context = 0;
  FrameView frame;
};

/// What to tell the user after a try ended with Errc::untrusted: Errc::refused, with the address
/// and what is to be checked. `token_source`: see there.
Error wrong_token(const Address& peer, std::string_view token_source);

/// The requesting side: one peer, one connection at a time. Requests are sent in the order in which
/// they were made, each when a credit is there, and kept until they are answered or withdrawn;
/// after a reconnect those unanswered are sent again, the same bytes, in the same order. Deadlines
/// of requests and of the peer's silence are their owner's (`last_heard`); the session has that of
/// connecting. Belongs to one loop; allocates only until its tables have reached `requests_max`.
class Session {
 public:
  struct Options {
    Address peer;
    Hello hello;                               ///< Who we are, whom we expect.
    std::uint32_t requests_max = 1024;         ///< unanswered or queued; more is Errc::overloaded
    std::uint32_t meta_bytes_max = 64u << 10;  ///< of one request
    Duration connect_timeout = std::chrono::seconds(5);    ///< of one try
    Duration backoff_min = std::chrono::milliseconds(10);  ///< between tries, doubled up to max,
    Duration backoff_max = std::chrono::seconds(1);        ///< with jitter
    std::uint64_t seed = 1;                                ///< of the jitter
  };
  Session(Transport& transport, Options options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Queues or sends a request. `meta` is copied; `payload` is the session's until the answer, or
  /// until withdraw() or close() end the loan. Fills in header.request. Errors: overloaded,
  /// invalid_argument (meta too large), closed.
  Result<RequestId> request(const FrameHeader& header, std::span<const std::byte> meta,
                            std::span<const ConstMemoryView> payload, std::uint64_t context);
  /// Forgets a request: no answer will be reported. True: it was never on any wire, so the peer
  /// cannot know of it and nothing of its payload was sent. False: it was, perhaps; the payload may
  /// still be lent to the transport: only break_connection() ends that loan at once.
  bool withdraw(RequestId id);
  /// Whether a request is, or was, on a wire: false while it waits for a credit or a connection.
  bool was_sent(RequestId id) const;
  /// A frame without an answer, sent if the session is open, else dropped (tick, cancel: newest
  /// wins or idempotent). Takes no credit.
  Status send_notice(const FrameHeader& header, std::span<const std::byte> meta);
  /// Ends every loan of this connection now and reconnects; unanswered requests are repeated. Not
  /// reported as `broken`.
  void break_connection();
  /// Ends every loan and never reconnects. Requests end without a report.
  void close();
  /// Whom the next connection says we are and expect: a NodeId comes only with the join.
  void set_hello(const Hello& hello);
  /// The owner's view is now at least `epoch`: whatever is sent or repeated from now on says so,
  /// even if it was made before. The receiver judges by its own view; a newer epoch only makes one
  /// that is behind catch up first. Without a call a request says its epoch at issue for ever.
  void set_epoch(Epoch epoch);

  /// Time-driven work: connecting, repeating. Call each turn.
  void poll(TimePoint now);
  TimePoint next_timer() const;
  /// True if the event was this session's; then `incoming` says what it meant.
  bool handle(const Event& event, TimePoint now, Incoming& incoming);

  bool open() const;
  /// For read() and write() of the owner; changes with each reconnect. Invalid (0) while not open.
  EndpointId endpoint() const;
  const Welcome& peer() const;       ///< Who welcomed us last.
  TimePoint last_heard() const;      ///< When the last frame of the peer came.
  std::uint32_t unanswered() const;  ///< Requests made and neither answered nor withdrawn.
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
    std::uint32_t credits = 64;  ///< requests of one peer that may be unanswered and not parked
    std::uint32_t parked_quota = 256;  ///< parked requests of one peer
    /// Further ones are answered `overloaded` (a welcome with that status) and logged.
    std::uint32_t peers_max = kNodesMax;
    Duration hello_timeout = std::chrono::seconds(5);
  };
  /// A peer's connection; lives until the poll() after `gone`. Read by the owner, but for set_node.
  struct Peer {
    EndpointId endpoint;
    NodeId node;  ///< As it said; 0 before it has joined, and on a heartbeat's connection.
    Incarnation incarnation;
    Role role = Role::worker;
    std::uint32_t unanswered = 0;  ///< requests that hold a credit
    std::uint32_t parked = 0;      ///< requests whose credit went back before their answer
    TimePoint last_heard{};
    bool greeted = false;
  };
  enum class Kind : std::uint8_t {
    nothing,  ///< Handled inside.
    greeted,  ///< A peer said a hello that we could welcome.
    request,  ///< `frame` wants an answer().
    notice,   ///< A one-way frame (tick, report_lost), or a cancel: frame.header.request names
              ///< whose.
    gone,     ///< A greeted peer's connection ended (`status`). Forget its requests.
    bulk,     ///< A read(), write() or send() with a context ended: see the event.
  };
  struct Served {
    Kind kind = Kind::nothing;
    Errc status = Errc::ok;
    Peer* peer = nullptr;  ///< `gone`: for the last time.
    FrameView frame;
  };

  SessionServer(Transport& transport, Options options);
  ~SessionServer();

  void set_identity(NodeId node, Incarnation incarnation);
  /// True if the event was of an accepted endpoint. A request beyond the peer's credits loses it
  /// its session (gone with Errc::protocol). `bulk` events of endpoints that close() was called on
  /// are not ours any more: they come with false.
  bool handle(const Event& event, TimePoint now, Served& served);
  /// Ends a request: fills in kind, credits (1 unless it was parked), request. Lane::bulk puts it
  /// behind the writes of its data. Kept, and sent by poll(), while the transport is full. Where it
  /// has no memory for the payload the request ends with that error, in words behind `meta`; an
  /// answer without one is kept. Errors: closed (the peer is gone: nobody waits), out_of_range (no
  /// frame can hold it); registration, no_memory (of an answer with a context).
  Status answer(EndpointId to, RequestId request, FrameHeader header,
                std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                const Transport::SendOptions& options, bool was_parked);
  /// The next context of an answer that was kept and never sent because its peer went, or went
  /// without its payload, for which there was no memory: as if its `sent` had come with
  /// Errc::closed. Ask until there is none after `gone`, close() and poll().
  std::optional<std::uint64_t> take_unsent();
  /// Gives a parked request's credit back, with the next frame or at poll(), while the peer's quota
  /// lasts. False: over quota; the credit stays with the request.
  bool park(EndpointId from, WorkerClock global_clock);
  /// Best effort. Errors: closed, overloaded (the peer does not read: it has missed this one).
  Status send_notice(EndpointId to, const FrameHeader& header, std::span<const std::byte> meta);
  /// Ends the connection and all loans on it. Not reported as `gone`.
  void close(EndpointId peer);
  /// Gives a peer the id under which find() knows it from now on: a node is named by its join.
  void set_node(EndpointId peer, NodeId node);

  /// Sends what waits: credits, answers that the transport had no room for. Call each turn, after
  /// the events.
  void poll(TimePoint now);
  TimePoint next_timer() const;
  Peer* find(EndpointId endpoint);  ///< Null: unknown, or not greeted.
  Peer* find(NodeId node);          ///< The newest connection of that node.
  /// Calls f(Peer&) for every greeted peer, in the order of accepting. f may close() any of them.
  template <class F>
  void for_each(F&& f) {
    const auto& all = peers();
    for (std::size_t i = 0; i < all.size(); ++i)
      if (all[i]->greeted) f(*all[i]);
  }

 private:
  const std::vector<Peer*>& peers() const;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shoal
