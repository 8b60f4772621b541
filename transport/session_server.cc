// The answering side of sessions. See docs/design/sessions.md.

#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/base/log.h"
#include "core/table/messages.h"
#include "transport/endpoint_map.h"
#include "transport/session.h"
#include "transport/session_parts.h"

namespace shoal {

namespace {

/// Connections beyond `peers_max` that get a word: they have said no hello yet, or are told that
/// there is no room.
constexpr std::size_t kStrangersMax = 64;
constexpr Duration kTellAgain = std::chrono::seconds(1);

/// What a frame ends with for which an adapter gets no more memory.
bool lacks_memory(Errc code) { return code == Errc::registration || code == Errc::no_memory; }

/// An answer for which the transport had no room, or no memory.
struct Kept {
  FrameHeader header;
  std::vector<std::byte> meta;
  std::vector<std::byte> copied;  ///< the payload, if it was to be copied
  session::PayloadViews payload;
  Transport::SendOptions options;
  bool was_parked = false;

  /// Becomes a refusal, which needs less memory: without its payload, the reason behind its meta.
  /// False: it has none that could go. A payload that is its owner's goes back to it, by `unsent`.
  bool give_up_payload(const Error& why, std::vector<std::uint64_t>& unsent) {
    if (copied.empty() && payload.count == 0) return false;
    if (options.context != 0) unsent.push_back(std::exchange(options.context, 0));
    copied.clear();
    payload.count = 0;
    header.status = static_cast<std::uint16_t>(why.code);
    header.flags = 0;
    const auto words = why.message().substr(0, kReasonBytesMax);
    const auto bytes = std::as_bytes(std::span(words));
    meta.insert(meta.end(), bytes.begin(), bytes.end());
    return true;
  }
};

/// Answers of one lane that wait, oldest first. A lane does not wait for the other's memory.
struct KeptLane {
  std::vector<Kept> answers;
  TimePoint retry_at = kNever;  ///< when they are offered again, if there are any
  bool lacks_memory = false;    ///< the last try found none
};

struct Connection : SessionServer::Peer {
  TimePoint hello_deadline = kNever;
  bool dead = false;            ///< told as gone, or closed; freed by the next poll()
  bool dirty = false;           ///< has something for poll() to send
  TimePoint flush_at = kNever;  ///< dirty: when it is due
  bool told_of_memory = false;  ///< the log has: an answer to it found none
  std::uint32_t owed_credits = 0;
  WorkerClock owed_clock;
  /// By lane. At most one answer for each request that is unanswered or parked, since a request
  /// counts as either until its answer was posted.
  KeptLane kept[2];

  KeptLane& kept_on(Lane lane) { return kept[static_cast<std::size_t>(lane)]; }
};

bool is_request(FrameKind kind) {
  const auto number = static_cast<std::uint16_t>(kind);
  const bool rows = number >= static_cast<std::uint16_t>(FrameKind::push) &&
                    number <= static_cast<std::uint16_t>(FrameKind::directory);
  const bool control = number >= static_cast<std::uint16_t>(FrameKind::join) &&
                       number <= static_cast<std::uint16_t>(FrameKind::status);
  return rows || control || kind == FrameKind::straggler;
}

}  // namespace

struct SessionServer::State {
  State(Transport& t, Options o) : transport(t), options(o) {}

  Connection* find(EndpointId endpoint) {
    const auto* found = connections.find(endpoint);
    return found != nullptr ? found->get() : nullptr;
  }
  void accept(EndpointId endpoint);
  void on_message(Connection& c, const FrameView& frame, Served& served);
  void on_hello(Connection& c, const FrameView& frame, Served& served);
  Errc judge(const Hello& hello) const;
  void nonsense(Connection& c, Served& served);
  void bury(Connection& c);
  Status post(Connection& c, FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload, const Transport::SendOptions& options,
              bool was_parked);
  void keep(Connection& c, const FrameHeader& header, std::span<const std::byte> meta,
            std::span<const ConstMemoryView> payload, const Transport::SendOptions& options,
            bool was_parked);
  void make_dirty(Connection& c, TimePoint when);
  void turn_away();
  bool flush(Connection& c);
  bool flush(Connection& c, KeptLane& kept);
  bool flush_credits(Connection& c);
  Status post(Connection& c, Kept& answer);

  Transport& transport;
  Options options;
  TimePoint now{};
  EndpointMap<std::unique_ptr<Connection>> connections;
  std::unordered_map<NodeId, EndpointId> newest;  ///< the last connection under that name
  std::vector<Peer*> order;                       ///< all, the dead too until the next poll()
  std::vector<std::unique_ptr<Connection>> dead;
  std::vector<Connection*> silent;  ///< accepted, no hello yet; oldest first
  std::vector<Connection*> dirty;
  TimePoint flush_at = kNever;  ///< when poll() has to look at `dirty`
  std::vector<std::uint64_t> unsent;
  std::uint64_t turned_away = 0;  ///< since it was last told
  TimePoint tell_at{};
};

void SessionServer::State::accept(EndpointId endpoint) {
  if (connections.size() >= options.peers_max + kStrangersMax) {
    turn_away();
    return transport.close(endpoint);
  }
  auto connection = std::make_unique<Connection>();
  connection->endpoint = endpoint;
  connection->last_heard = now;
  connection->hello_deadline = deadline_after(now, options.hello_timeout);
  order.push_back(connection.get());
  silent.push_back(connection.get());
  connections[endpoint] = std::move(connection);
}

/// One line a second at most, however often they come back.
void SessionServer::State::turn_away() {
  ++turned_away;
  if (now < tell_at) return;
  log_warn("session", "{} connections were turned away: {} are open, the most (peers_max)",
           std::exchange(turned_away, 0), options.peers_max);
  tell_at = deadline_after(now, kTellAgain);
}

void SessionServer::State::on_message(Connection& c, const FrameView& frame, Served& served) {
  c.last_heard = now;
  if (!c.greeted) return on_hello(c, frame, served);
  const auto& header = frame.header;
  if (header.kind != FrameKind::cancel) {
    if (!is_request(header.kind)) return nonsense(c, served);
    if (header.request.value != 0) {
      if (c.unanswered >= options.credits) return nonsense(c, served);
      ++c.unanswered;
      served.kind = Kind::request;
    }
  }
  if (served.kind != Kind::request) served.kind = Kind::notice;
  served.peer = &c;
  served.frame = frame;
}

/// Who is meant must be who we are. Incarnations tell; a NodeId alone does once we have ours.
Errc SessionServer::State::judge(const Hello& hello) const {
  if (connections.size() - silent.size() >= options.peers_max) return Errc::overloaded;
  const bool incarnation_named = hello.expected_incarnation.value != 0;
  if (incarnation_named && hello.expected_incarnation != options.incarnation)
    return Errc::peer_lost;
  if (hello.expected.value == 0) return Errc::ok;
  if (options.node.value == 0) return incarnation_named ? Errc::ok : Errc::not_ready;
  return hello.expected == options.node ? Errc::ok : Errc::peer_lost;
}

void SessionServer::State::on_hello(Connection& c, const FrameView& frame, Served& served) {
  const auto hello = frame.header.kind == FrameKind::hello
                         ? decode<Hello>(frame.meta)
                         : Result<Hello>(Error{Errc::protocol, {}});
  if (!hello.ok()) return nonsense(c, served);
  const auto verdict = judge(*hello);
  if (verdict == Errc::overloaded) turn_away();
  FrameHeader header;
  header.kind = FrameKind::welcome;
  header.status = static_cast<std::uint16_t>(verdict);
  const Welcome welcome{options.node, options.incarnation, options.credits, options.parked_quota};
  auto sent = session::send_greeting(transport, c.endpoint, header, welcome);
  // Who was not welcome hangs up when it has read why, or is dropped at the hello's deadline.
  if (verdict != Errc::ok || !sent.ok()) return;
  std::erase(silent, &c);
  c.greeted = true;
  c.node = hello->node;
  c.incarnation = hello->incarnation;
  c.role = hello->role;
  if (c.node.value != 0) newest[c.node] = c.endpoint;
  served.kind = Kind::greeted;
  served.peer = &c;
}

/// The peer sent what no correct peer sends: it loses its session.
void SessionServer::State::nonsense(Connection& c, Served& served) {
  served.status = Errc::protocol;
  if (c.greeted) {
    served.kind = Kind::gone;
    served.peer = &c;
  }
  transport.close(c.endpoint);
  bury(c);
}

void SessionServer::State::bury(Connection& c) {
  for (const auto& lane : c.kept)
    for (const auto& kept : lane.answers)
      if (kept.options.context != 0) unsent.push_back(kept.options.context);
  if (!c.greeted) std::erase(silent, &c);
  if (c.dirty) std::erase(dirty, &c);
  const auto named = newest.find(c.node);
  if (named != newest.end() && named->second == c.endpoint) newest.erase(named);
  c.greeted = false;
  c.dead = true;
  dead.push_back(std::move(connections[c.endpoint]));
  connections.erase(c.endpoint);
}

void SessionServer::State::make_dirty(Connection& c, TimePoint when) {
  if (!c.dirty) dirty.push_back(&c);
  c.flush_at = c.dirty ? std::min(c.flush_at, when) : when;
  c.dirty = true;
  flush_at = std::min(flush_at, when);
}

/// Offers an answer to the transport, with what credits it can bring. Only then has its request
/// ended, and its credit gone back.
Status SessionServer::State::post(Connection& c, FrameHeader& header,
                                  std::span<const std::byte> meta,
                                  std::span<const ConstMemoryView> payload,
                                  const Transport::SendOptions& send_options, bool was_parked) {
  auto& count = was_parked ? c.parked : c.unanswered;
  SHOAL_ASSERT(count > 0, "an answer without its request: answered twice, or wrongly as parked");
  header.credits = c.owed_credits + (was_parked ? 0 : 1);
  SHOAL_TRY(transport.send(c.endpoint, header, meta, payload, send_options));
  c.owed_credits = 0;
  --count;
  return {};
}

void SessionServer::State::keep(Connection& c, const FrameHeader& header,
                                std::span<const std::byte> meta,
                                std::span<const ConstMemoryView> payload,
                                const Transport::SendOptions& send_options, bool was_parked) {
  auto& lane = c.kept_on(send_options.lane);
  if (lane.answers.empty()) {  // else what waits already says when to try again
    lane.retry_at = deadline_after(now, kFullRetry);
    make_dirty(c, lane.retry_at);
  }
  auto& kept = lane.answers.emplace_back();
  kept.header = header;
  kept.meta.assign(meta.begin(), meta.end());
  kept.options = send_options;
  kept.was_parked = was_parked;
  if (send_options.copy_payload) {
    for (const auto& view : payload) {
      const auto bytes = view.host_span();
      kept.copied.insert(kept.copied.end(), bytes.begin(), bytes.end());
    }
  } else {
    kept.payload.assign(payload);
  }
}

Status SessionServer::State::post(Connection& c, Kept& answer) {
  const ConstMemoryView copied(answer.copied.data(), answer.copied.size());
  const auto payload = answer.copied.empty() ? answer.payload.span() : std::span(&copied, 1);
  return post(c, answer.header, answer.meta, payload, answer.options, answer.was_parked);
}

/// Sends what the transport takes of `kept`, in order. True: all of it.
bool SessionServer::State::flush(Connection& c, KeptLane& kept) {
  auto& answers = kept.answers;
  kept.lacks_memory = false;
  std::size_t done = 0;
  for (; done < answers.size(); ++done) {
    auto& answer = answers[done];
    auto sent = post(c, answer);
    if (lacks_memory(sent.code())) {
      if (!std::exchange(c.told_of_memory, true))
        log_warn("session", "an answer to {} finds no memory: {}", transport.peer_of(c.endpoint),
                 sent.error().message());
      if (answer.give_up_payload(sent.error(), unsent)) sent = post(c, answer);
      kept.lacks_memory = lacks_memory(sent.code());
    }
    if (!sent.ok()) break;  // full, or closed: then bury() follows with the event
  }
  answers.erase(answers.begin(), answers.begin() + static_cast<std::ptrdiff_t>(done));
  return answers.empty();
}

bool SessionServer::State::flush_credits(Connection& c) {
  if (c.owed_credits == 0) return true;
  FrameHeader header;
  header.kind = FrameKind::credit;
  header.clock = c.owed_clock;
  header.credits = c.owed_credits;
  if (!transport.send(c.endpoint, header, {}, {}, {}).ok()) return false;
  c.owed_credits = 0;
  return true;
}

/// Sends what is due. True: nothing waits on `c` any more; else `flush_at` says when to go on.
bool SessionServer::State::flush(Connection& c) {
  c.flush_at = kNever;
  for (const auto lane : {Lane::message, Lane::bulk}) {
    auto& kept = c.kept_on(lane);
    if (kept.answers.empty()) continue;
    if (now >= kept.retry_at) {
      if (flush(c, kept)) continue;
      kept.retry_at = deadline_after(now, kept.lacks_memory ? kNoMemoryRetry : kFullRetry);
    }
    c.flush_at = std::min(c.flush_at, kept.retry_at);
  }
  if (!flush_credits(c)) c.flush_at = std::min(c.flush_at, deadline_after(now, kFullRetry));
  return c.flush_at == kNever;
}

SessionServer::SessionServer(Transport& transport, Options options)
    : state_(std::make_unique<State>(transport, options)) {
  SHOAL_ASSERT(options.credits > 0, "peers without credits could never ask for anything");
}

SessionServer::~SessionServer() {
  for (const auto& [endpoint, connection] : state_->connections) state_->transport.close(endpoint);
}

void SessionServer::set_identity(NodeId node, Incarnation incarnation) {
  state_->options.node = node;
  state_->options.incarnation = incarnation;
}

bool SessionServer::handle(const Event& event, TimePoint now, Served& served) {
  auto& s = *state_;
  s.now = std::max(s.now, now);
  served = Served{};
  if (event.kind == Event::Kind::accepted) {
    s.accept(event.endpoint);
    return true;
  }
  auto* c = s.find(event.endpoint);
  if (c == nullptr) return false;
  switch (event.kind) {
    case Event::Kind::accepted:
    case Event::Kind::connected:
      return false;
    case Event::Kind::closed:
      served.status = event.status;
      if (c->greeted) {
        served.kind = Kind::gone;
        served.peer = c;
      }
      s.bury(*c);
      return true;
    case Event::Kind::message:
      s.on_message(*c, event.frame, served);
      return true;
    case Event::Kind::sent:
    case Event::Kind::read_done:
    case Event::Kind::write_done:
      served.kind = Kind::bulk;
      served.status = event.status;
      served.peer = c;
      return true;
  }
  return true;
}

Status SessionServer::answer(EndpointId to, RequestId request, FrameHeader header,
                             std::span<const std::byte> meta,
                             std::span<const ConstMemoryView> payload,
                             const Transport::SendOptions& options, bool was_parked) {
  auto& s = *state_;
  auto* c = s.find(to);
  if (c == nullptr || !c->greeted) return Error{Errc::closed, "the asker is gone"};
  const FrameLimits limits;
  const auto payload_bytes = session::bytes_of(payload);
  if (meta.size() > limits.meta_bytes_max || payload.size() > Transport::kPayloadViewsMax ||
      payload_bytes > limits.payload_bytes_max ||
      (options.copy_payload && payload_bytes > Transport::kCopyMax))
    return Error{Errc::out_of_range, fmt::format("an answer of {} + {} bytes in {} views does not "
                                                 "fit into a frame",
                                                 meta.size(), payload_bytes, payload.size())};
  header.kind = FrameKind::answer;
  header.request = request;
  if (c->kept_on(options.lane).answers.empty()) {
    auto sent = s.post(*c, header, meta, payload, options, was_parked);
    if (lacks_memory(sent.code()) && options.context == 0) {
      s.keep(*c, header, meta, payload, options, was_parked);
      s.flush(*c, c->kept_on(options.lane));
      return {};
    }
    if (sent.code() != Errc::overloaded) return sent;
  }
  s.keep(*c, header, meta, payload, options, was_parked);
  return {};
}

std::optional<std::uint64_t> SessionServer::take_unsent() {
  auto& unsent = state_->unsent;
  if (unsent.empty()) return std::nullopt;
  const auto context = unsent.back();
  unsent.pop_back();
  return context;
}

bool SessionServer::park(EndpointId from, WorkerClock global_clock) {
  auto& s = *state_;
  auto* c = s.find(from);
  if (c == nullptr || !c->greeted || c->parked >= s.options.parked_quota) return false;
  SHOAL_ASSERT(c->unanswered > 0, "parked twice, or after its answer");
  --c->unanswered;
  ++c->parked;
  ++c->owed_credits;
  c->owed_clock = std::max(c->owed_clock, global_clock);
  s.make_dirty(*c, s.now);
  return true;
}

Status SessionServer::send_notice(EndpointId to, const FrameHeader& header,
                                  std::span<const std::byte> meta) {
  auto* c = state_->find(to);
  if (c == nullptr || !c->greeted) return Error{Errc::closed, "the peer is gone"};
  return state_->transport.send(to, header, meta, {}, {});
}

void SessionServer::close(EndpointId peer) {
  auto* c = state_->find(peer);
  if (c == nullptr) return;
  state_->transport.close(peer);
  state_->bury(*c);
}

void SessionServer::set_node(EndpointId peer, NodeId node) {
  auto* c = state_->find(peer);
  if (c == nullptr) return;
  c->node = node;
  if (node.value != 0) state_->newest[node] = peer;
}

void SessionServer::poll(TimePoint now) {
  auto& s = *state_;
  s.now = now;
  if (!s.dead.empty()) {
    std::erase_if(s.order, [](Peer* peer) { return static_cast<Connection*>(peer)->dead; });
    s.dead.clear();
  }
  if (now >= s.flush_at) {
    s.flush_at = kNever;
    std::erase_if(s.dirty, [&](Connection* c) {
      if (now >= c->flush_at) c->dirty = !s.flush(*c);
      if (c->dirty) s.flush_at = std::min(s.flush_at, c->flush_at);
      return !c->dirty;
    });
  }
  while (!s.silent.empty() && now >= s.silent.front()->hello_deadline)
    close(s.silent.front()->endpoint);
}

TimePoint SessionServer::next_timer() const {
  const auto hello = state_->silent.empty() ? kNever : state_->silent.front()->hello_deadline;
  return std::min(hello, state_->flush_at);
}

SessionServer::Peer* SessionServer::find(EndpointId endpoint) {
  auto* c = state_->find(endpoint);
  return c != nullptr && c->greeted ? c : nullptr;
}

SessionServer::Peer* SessionServer::find(NodeId node) {
  if (node.value == 0) return nullptr;
  if (const auto found = state_->newest.find(node); found != state_->newest.end())
    return find(found->second);
  // The newest has gone; an older one may not have noticed yet.
  for (auto i = state_->order.rbegin(); i != state_->order.rend(); ++i)
    if ((*i)->greeted && (*i)->node == node) return *i;
  return nullptr;
}

const std::vector<SessionServer::Peer*>& SessionServer::peers() const { return state_->order; }

}  // namespace shoal
