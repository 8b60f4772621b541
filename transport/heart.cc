// The heartbeats of a node. See docs/design/protocol.md, "Liveness".

#include <algorithm>
#include <array>

#include "transport/scheduler_link.h"

namespace shoal {

namespace {

/// A heartbeat that is unanswered for this many beats: the connection is tried anew.
constexpr int kBeatsPatience = 4;

Session::Options session_options(const Heart::Options& options) {
  Session::Options session;
  session.peer = options.scheduler;
  session.hello.incarnation = options.incarnation;
  session.hello.role = options.role;
  session.requests_max = 1;
  session.connect_timeout = std::min(options.connect_timeout, options.beat * kBeatsPatience);
  session.backoff_max = std::max(session.backoff_min, options.beat);
  session.seed = options.incarnation.value;
  return session;
}

}  // namespace

struct Heart::State {
  State(Transport& t, Options o, const std::atomic<std::uint64_t>& main_turns)
      : transport(t),
        options(std::move(o)),
        turns(main_turns),
        session(t, session_options(options)) {}

  bool beat(TimePoint now);

  Transport& transport;
  Options options;
  const std::atomic<std::uint64_t>& turns;
  Session session;
  TimePoint next_beat{};
  TimePoint patience = kNever;  ///< until when the unanswered one may stay so
};

bool Heart::State::beat(TimePoint now) {
  FrameHeader header;
  header.kind = FrameKind::heartbeat;
  std::array<std::byte, kSmallMessageBytesMax> buffer;
  Writer out(buffer);
  encode(out, Heartbeat{options.node, options.incarnation, turns.load(std::memory_order_relaxed)});
  SHOAL_ASSERT(out.ok(), "a heartbeat is larger than its buffer");
  const auto sent = session.request(header, out.written(), {}, 0);
  next_beat = deadline_after(now, options.beat);
  patience = deadline_after(now, options.beat * kBeatsPatience);
  return sent.ok();
}

Heart::Heart(Transport& transport, Options options, const std::atomic<std::uint64_t>& turns)
    : state_(std::make_unique<State>(transport, std::move(options), turns)) {}
Heart::~Heart() = default;

bool Heart::poll(TimePoint now) {
  auto& s = *state_;
  std::array<Event, 16> events;
  const auto count = s.transport.poll(events);
  Incoming incoming;
  for (std::size_t i = 0; i < count; ++i) (void)s.session.handle(events[i], now, incoming);
  s.session.poll(now);
  bool any = count > 0;
  if (s.session.unanswered() == 0) {
    if (now >= s.next_beat) any = s.beat(now) || any;
  } else if (now >= s.patience) {
    s.session.break_connection();
    s.patience = deadline_after(now, s.options.beat * kBeatsPatience);
  }
  s.transport.flush();
  return any;
}

TimePoint Heart::next_timer() const {
  const auto& s = *state_;
  const auto own = s.session.unanswered() == 0 ? s.next_beat : s.patience;
  return std::min({own, s.session.next_timer(), s.transport.next_timer()});
}

Transport& Heart::transport() { return state_->transport; }

}  // namespace shoal
