// The requesting side of a session. See docs/design/sessions.md.

#include "transport/session.h"

#include <fmt/core.h>

#include <bit>

#include "core/base/log.h"
#include "core/base/random.h"
#include "transport/session_parts.h"

namespace shoal {

namespace session {

const char* reason(Errc status) noexcept {
  switch (status) {
    case Errc::ok:
      return "no try has ended";
    case Errc::refused:
      return "refused: nobody listens there";
    case Errc::untrusted:
      return "it does not know the same cluster token as this process";
    case Errc::timed_out:
      return "no answer in time";
    case Errc::peer_lost:
      return "the connection was lost";
    case Errc::version:
      return "the peer speaks another wire version: run one Shoal release everywhere";
    case Errc::closed:
      return "closed by the peer or by us";
    case Errc::not_ready:
      return "the peer is starting and cannot tell yet whether it is who we mean";
    case Errc::overloaded:
      return "the peer has no room for more connections";
    case Errc::unavailable:
      return "no RDMA path leads there, and require = rdma: see the log, or 'shoal info'";
    case Errc::protocol:
    case Errc::corrupt:
      return "the peer sent bytes that no correct peer sends";
    default:
      return "input or output failed";
  }
}

}  // namespace session

Error wrong_token(const Address& peer, std::string_view token_source) {
  return {Errc::refused,
          fmt::format("{} does not know the same cluster token as this process: give both the same "
                      "one; check {}, and the address",
                      peer.to_string(), token_source)};
}

using session::PayloadViews;

namespace {

constexpr std::uint32_t kNone = ~std::uint32_t{0};

struct Slot {
  RequestId id;  ///< 0: free
  std::uint64_t context = 0;
  FrameHeader header;
  std::vector<std::byte> meta;  ///< keeps its capacity from request to request
  PayloadViews payload;
  std::uint32_t previous = kNone;  ///< in the order of requests; free: unused
  std::uint32_t next = kNone;      ///< free: the next free one
  bool ever_sent = false;
  bool sent = false;  ///< on this connection
};

/// Requests in the order in which they were made. An id is (count of requests << bits) | slot, so
/// that it rises, is never reused, and finds its slot without a search.
class SlotTable {
 public:
  explicit SlotTable(std::uint32_t capacity)
      : capacity_(std::max(1u, capacity)), bits_(static_cast<int>(std::bit_width(capacity_ - 1))) {}

  /// Null: full. Appended to the order; as the next to be sent, if all before it are.
  Slot* acquire() {
    if (free_ == kNone) {
      if (slots_.size() == capacity_) return nullptr;
      slots_.emplace_back();
      slots_.back().next = kNone;
      free_ = static_cast<std::uint32_t>(slots_.size() - 1);
    }
    const auto index = free_;
    auto& slot = slots_[index];
    free_ = slot.next;
    slot.id = RequestId((++made_ << bits_) | index);
    slot.previous = tail_;
    slot.next = kNone;
    slot.ever_sent = slot.sent = false;
    (tail_ == kNone ? head_ : slots_[tail_].next) = index;
    tail_ = index;
    if (unsent_ == kNone) unsent_ = index;
    ++live_;
    return &slot;
  }
  Slot* find(RequestId id) {
    const auto index = id.value & ((std::uint64_t{1} << bits_) - 1);
    return id.value != 0 && index < slots_.size() && slots_[index].id == id ? &slots_[index]
                                                                            : nullptr;
  }
  void release(Slot& slot) {
    const auto index = static_cast<std::uint32_t>(&slot - slots_.data());
    if (unsent_ == index) unsent_ = slot.next;
    (slot.previous == kNone ? head_ : slots_[slot.previous].next) = slot.next;
    (slot.next == kNone ? tail_ : slots_[slot.next].previous) = slot.previous;
    slot.id = RequestId{};
    slot.payload.count = 0;
    slot.next = free_;
    free_ = index;
    --live_;
  }
  /// The first that was not sent on this connection; those before it were, those behind were not.
  Slot* first_unsent() { return unsent_ == kNone ? nullptr : &slots_[unsent_]; }
  void mark_sent(Slot& slot) {
    slot.sent = slot.ever_sent = true;
    unsent_ = slot.next;
  }
  /// A connection ended: all are to be sent again.
  void rewind() {
    for (auto i = head_; i != kNone; i = slots_[i].next) slots_[i].sent = false;
    unsent_ = head_;
  }
  void clear() {
    while (head_ != kNone) release(slots_[head_]);
  }
  std::uint32_t live() const { return live_; }

 private:
  std::uint32_t capacity_;
  int bits_;
  std::uint64_t made_ = 0;
  std::uint32_t live_ = 0;
  std::uint32_t free_ = kNone, head_ = kNone, tail_ = kNone, unsent_ = kNone;
  std::vector<Slot> slots_;
};

}  // namespace

struct Session::State {
  enum class Phase : std::uint8_t { waiting, connecting, greeting, open, closed };

  State(Transport& t, Options o)
      : transport(t),
        options(std::move(o)),
        random(options.seed),
        slots(options.requests_max),
        backoff(options.backoff_min) {}

  void start_try(TimePoint now);
  void try_again(Errc why, Duration delay);
  std::string state() const;
  Duration next_delay();
  void drop_connection();
  void pump();
  void put_off(const Error& why);
  void on_ended(Errc status, Incoming& incoming);
  void fail(Errc status, Incoming& incoming);
  void on_message(const FrameView& frame, TimePoint now, Incoming& incoming);
  void on_welcome(const FrameView& frame, Incoming& incoming);
  void on_answer(const FrameView& frame, Incoming& incoming);

  Transport& transport;
  Options options;
  Random random;
  SlotTable slots;
  Phase phase = Phase::waiting;
  EndpointId endpoint;
  Welcome welcome;
  std::uint32_t credits = 0;
  std::uint64_t epoch = 0;  ///< Epoch::packed()
  Duration backoff;
  TimePoint next_try{};         ///< waiting
  TimePoint deadline = kNever;  ///< connecting, greeting
  TimePoint pump_at = kNever;   ///< open, and the transport was full
  std::string stuck;            ///< for people: why not all is sent; empty: no reason to speak of
  TimePoint now{};              ///< when the owner last told us
  TimePoint last_heard{};
  Errc last_failure = Errc::ok;
  std::string last_words;      ///< the transport's, of a try that could not begin; else empty
  std::uint32_t failures = 0;  ///< since it was last open
};

void Session::State::start_try(TimePoint at) {
  deadline = deadline_after(at, options.connect_timeout);
  const auto started = transport.connect(options.peer, deadline);
  if (!started.ok()) {
    try_again(started.code(), next_delay());
    last_words = started.error().what;
    return;
  }
  endpoint = *started;
  phase = Phase::connecting;
}

/// Half of `backoff` to all of it, so that a thousand workers do not come back in one moment; then
/// twice as long.
Duration Session::State::next_delay() {
  const auto half = backoff / 2;
  const auto spread = static_cast<std::uint64_t>(std::max<Duration::rep>(1, half.count()));
  const auto delay = half + Duration(static_cast<Duration::rep>(random.below(spread)));
  backoff = std::min(backoff * 2, options.backoff_max);
  return delay;
}

void Session::State::try_again(Errc why, Duration delay) {
  phase = Phase::waiting;
  next_try = deadline_after(now, delay);
  last_failure = why;
  last_words.clear();
  ++failures;
}

/// Ends every loan of the connection. What was sent on it counts as unsent from here on.
void Session::State::drop_connection() {
  if (endpoint.value != 0) transport.close(std::exchange(endpoint, EndpointId{}));
  slots.rewind();
  credits = 0;
  pump_at = kNever;
  stuck.clear();
}

void Session::State::pump() {
  if (phase != Phase::open) return;
  pump_at = kNever;
  while (credits > 0) {
    auto* slot = slots.first_unsent();
    if (slot == nullptr) return;
    slot->header.epoch = std::max(slot->header.epoch, epoch);
    const auto sent = transport.send(endpoint, slot->header, slot->meta, slot->payload.span(), {});
    if (!sent.ok()) return put_off(sent.error());
    stuck.clear();
    --credits;
    slots.mark_sent(*slot);
  }
}

/// A full transport has room soon, and of a closed one an event tells. What finds no memory may
/// find some later: until then `explain`, and so whoever waits in vain, says so.
void Session::State::put_off(const Error& why) {
  const bool soon = why.code == Errc::overloaded || why.code == Errc::closed;
  pump_at = deadline_after(now, soon ? kFullRetry : kNoMemoryRetry);
  if (soon) return;
  if (stuck.empty()) log_warn("session", "{}: {}", options.peer.to_string(), why.message());
  stuck = "; cannot send: " + why.message();
}

/// The transport has ended the connection.
void Session::State::on_ended(Errc status, Incoming& incoming) {
  endpoint = EndpointId{};
  fail(status, incoming);
}

void Session::State::fail(Errc status, Incoming& incoming) {
  const bool was_open = phase == Phase::open;
  drop_connection();
  try_again(status, next_delay());
  incoming.status = status;
  if (was_open)
    incoming.kind = Incoming::Kind::broken;
  else if (status == Errc::refused)
    incoming.kind = Incoming::Kind::refused;
}

void Session::State::on_message(const FrameView& frame, TimePoint at, Incoming& incoming) {
  last_heard = at;
  if (phase == Phase::greeting) return on_welcome(frame, incoming);
  const auto kind = frame.header.kind;
  const bool ours = kind == FrameKind::hello || kind == FrameKind::welcome;
  if (phase != Phase::open || ours || frame.header.credits > welcome.credits - credits)
    return fail(Errc::protocol, incoming);
  backoff = options.backoff_min;  // not at the welcome: a peer that then talks nonsense is no peer
  credits += frame.header.credits;
  if (kind == FrameKind::answer) {
    on_answer(frame, incoming);
  } else {
    incoming.kind = Incoming::Kind::notice;
    incoming.frame = frame;
  }
  pump();
}

void Session::State::on_welcome(const FrameView& frame, Incoming& incoming) {
  if (frame.header.kind != FrameKind::welcome) return fail(Errc::protocol, incoming);
  const auto status = static_cast<Errc>(frame.header.status);
  const auto parsed = decode<Welcome>(frame.meta);
  if (!parsed.ok()) return fail(Errc::protocol, incoming);
  const auto& hello = options.hello;
  const bool other =
      hello.expected_incarnation.value != 0 && parsed->incarnation != hello.expected_incarnation;
  if (status == Errc::peer_lost || (status == Errc::ok && other)) {
    drop_connection();
    try_again(Errc::peer_lost, options.backoff_max);
    incoming.kind = Incoming::Kind::stranger;
    incoming.status = Errc::peer_lost;
    return;
  }
  if (status != Errc::ok) return fail(status, incoming);
  if (parsed->credits == 0) return fail(Errc::protocol, incoming);
  welcome = *parsed;
  credits = welcome.credits;
  phase = Phase::open;
  failures = 0;
  incoming.kind = Incoming::Kind::opened;
  pump();
}

void Session::State::on_answer(const FrameView& frame, Incoming& incoming) {
  auto* slot = slots.find(frame.header.request);
  if (slot == nullptr) return;  // withdrawn meanwhile; its credit came back all the same
  if (!slot->sent) return fail(Errc::protocol, incoming);
  incoming.kind = Incoming::Kind::answer;
  incoming.status = static_cast<Errc>(frame.header.status);
  incoming.id = slot->id;
  incoming.context = slot->context;
  incoming.frame = frame;
  slots.release(*slot);
}

Session::Session(Transport& transport, Options options)
    : state_(std::make_unique<State>(transport, std::move(options))) {}
Session::~Session() { close(); }

Result<RequestId> Session::request(const FrameHeader& header, std::span<const std::byte> meta,
                                   std::span<const ConstMemoryView> payload,
                                   std::uint64_t context) {
  auto& s = *state_;
  if (s.phase == State::Phase::closed)
    return Error{Errc::closed, "a request on a session that was closed"};
  const FrameLimits limits;
  if (meta.size() > std::min(s.options.meta_bytes_max, limits.meta_bytes_max) ||
      payload.size() > Transport::kPayloadViewsMax ||
      session::bytes_of(payload) > limits.payload_bytes_max)
    return Error{Errc::invalid_argument,
                 fmt::format("a request of {} + {} bytes in {} views to {}: at most {} + {} in {} "
                             "fit; split it",
                             meta.size(), session::bytes_of(payload), payload.size(),
                             s.options.peer.to_string(), s.options.meta_bytes_max,
                             limits.payload_bytes_max, Transport::kPayloadViewsMax)};
  auto* slot = s.slots.acquire();
  if (slot == nullptr)
    return Error{Errc::overloaded,
                 fmt::format("{} requests to {} are unanswered, as many as are allowed: wait for "
                             "some",
                             s.slots.live(), s.options.peer.to_string())};
  slot->header = header;
  slot->header.request = slot->id;
  slot->header.credits = 0;
  slot->context = context;
  slot->meta.assign(meta.begin(), meta.end());
  slot->payload.assign(payload);
  const auto id = slot->id;
  if (s.pump_at == kNever) s.pump();
  return id;
}

bool Session::withdraw(RequestId id) {
  auto* slot = state_->slots.find(id);
  if (slot == nullptr) return false;
  const bool never_sent = !slot->ever_sent;
  state_->slots.release(*slot);
  return never_sent;
}

bool Session::was_sent(RequestId id) const {
  const auto* slot = state_->slots.find(id);
  return slot != nullptr && slot->ever_sent;
}

Status Session::send_notice(const FrameHeader& header, std::span<const std::byte> meta) {
  if (!open()) return Error{Errc::closed, "no connection"};
  return state_->transport.send(state_->endpoint, header, meta, {}, {});
}

void Session::break_connection() {
  auto& s = *state_;
  if (s.phase == State::Phase::closed || s.phase == State::Phase::waiting) return;
  s.drop_connection();
  s.try_again(Errc::closed, s.next_delay());
}

void Session::close() {
  state_->drop_connection();
  state_->slots.clear();
  state_->phase = State::Phase::closed;
}

void Session::set_hello(const Hello& hello) { state_->options.hello = hello; }
void Session::set_epoch(Epoch epoch) { state_->epoch = std::max(state_->epoch, epoch.packed()); }

void Session::poll(TimePoint now) {
  auto& s = *state_;
  s.now = now;
  switch (s.phase) {
    case State::Phase::waiting:
      if (now >= s.next_try) s.start_try(now);
      break;
    case State::Phase::connecting:
    case State::Phase::greeting:
      if (now < s.deadline) break;
      s.drop_connection();
      s.try_again(Errc::timed_out, s.next_delay());
      break;
    case State::Phase::open:
      if (now >= s.pump_at) s.pump();
      break;
    case State::Phase::closed:
      break;
  }
}

TimePoint Session::next_timer() const {
  switch (state_->phase) {
    case State::Phase::waiting:
      return state_->next_try;
    case State::Phase::connecting:
    case State::Phase::greeting:
      return state_->deadline;
    case State::Phase::open:
      return state_->pump_at;
    case State::Phase::closed:
      break;
  }
  return kNever;
}

bool Session::handle(const Event& event, TimePoint now, Incoming& incoming) {
  auto& s = *state_;
  if (s.endpoint.value == 0 || event.endpoint != s.endpoint) return false;
  s.now = now;
  incoming = Incoming{};
  switch (event.kind) {
    case Event::Kind::accepted:
      return false;
    case Event::Kind::connected: {
      s.phase = State::Phase::greeting;
      FrameHeader header;
      header.kind = FrameKind::hello;
      header.epoch = s.epoch;
      const auto sent = session::send_greeting(s.transport, s.endpoint, header, s.options.hello);
      if (!sent.ok()) s.fail(sent.code(), incoming);
      return true;
    }
    case Event::Kind::closed:
      s.on_ended(event.status, incoming);
      return true;
    case Event::Kind::message:
      s.on_message(event.frame, now, incoming);
      return true;
    case Event::Kind::sent:
    case Event::Kind::read_done:
    case Event::Kind::write_done:
      incoming.kind = Incoming::Kind::bulk;
      incoming.status = event.status;
      incoming.context = event.context;
      return true;
  }
  return true;
}

bool Session::open() const { return state_->phase == State::Phase::open; }
EndpointId Session::endpoint() const { return open() ? state_->endpoint : EndpointId{}; }
const Welcome& Session::peer() const { return state_->welcome; }
TimePoint Session::last_heard() const { return state_->last_heard; }
std::uint32_t Session::unanswered() const { return state_->slots.live(); }
std::uint32_t Session::credits() const { return state_->credits; }

std::string Session::State::state() const {
  switch (phase) {
    case Phase::open:
      return fmt::format("connected, {} requests unanswered, {} of {} credits left; {}{}",
                         slots.live(), credits, welcome.credits, transport.explain(endpoint),
                         stuck);
    case Phase::closed:
      return "closed";
    default:
      break;
  }
  if (failures == 0) return "connecting, no answer yet";
  return fmt::format("not connected after {} {}: {}", failures, failures == 1 ? "try" : "tries",
                     last_words.empty() ? session::reason(last_failure) : last_words);
}

std::string Session::explain() const {
  const auto& s = *state_;
  auto text = fmt::format("{}: {}", s.options.peer.to_string(), s.state());
  if (s.last_heard == TimePoint{}) return text;
  const std::chrono::duration<double> silence = s.now - s.last_heard;
  return text + fmt::format("; last heard {:.1f} s ago", silence.count());
}

}  // namespace shoal
