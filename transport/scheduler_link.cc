// A node's control connection. See docs/design/sessions.md, "The link".

#include "transport/scheduler_link.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>
#include <vector>

namespace shoal {

namespace {

/// Between two requests for a view or a join that the scheduler could not grant yet.
constexpr Duration kAskAgain = std::chrono::milliseconds(20);
constexpr Duration kJoinAgain = std::chrono::milliseconds(100);
/// A join without an answer: what does the scheduler wait for? First asked after kJoinAgain.
constexpr Duration kWonderAgain = std::chrono::seconds(1);
/// A server loses sight of fewer peers than this at once, or the scheduler sees it by itself.
constexpr std::size_t kReportsMax = 64;

/// Whether the scheduler may grant a join later that it refuses now.
bool passes(Errc code) {
  return code == Errc::not_ready || code == Errc::overloaded || code == Errc::timed_out;
}

Session::Options session_options(const SchedulerLink::Options& options) {
  Session::Options session;
  session.peer = options.scheduler;
  session.hello.incarnation = options.join.incarnation;
  session.hello.role = options.join.role;
  session.connect_timeout = options.connect_timeout;
  session.seed = options.seed;
  return session;
}

}  // namespace

struct SchedulerLink::State {
  State(Transport& transport, Options o)
      : options(std::move(o)), session(transport, session_options(options)) {}

  struct StampedClock {
    Epoch epoch;
    WorkerClock clock;
    GlobalClock info;
  };
  struct Report {
    ReportLost what;
    bool sent = false;
  };

  void send_join();
  bool ask_view();
  bool view_is_wanted() const { return ask_full || (view ? view->epoch : Epoch{}) < wanted; }
  bool wonders() const { return !joined && !refused && join_request.value != 0; }
  bool ping_is_due(TimePoint at) const {
    return session.open() && at - session.last_heard() >= options.silence / 3;
  }
  bool send_notices();
  void on_opened();
  void on_answer(const Incoming& answer, Change& change);
  void on_joined(const Incoming& answer, Change& change);
  void on_notice(const FrameView& frame, Change& change);
  void on_view(const FrameView& frame, Change& change);
  Status take_view(const FrameHeader& header, std::span<const std::byte> bytes, Change& change);
  void adopt(ClusterView&& newer, Change& change);
  void on_global_clock(const StampedClock& stamped, Change& change);
  void on_failed_try(Errc status, Change& change);
  void refuse(Errc code, std::string why, Change& change);

  Options options;
  Session session;
  std::optional<Joined> joined;
  ViewPtr view;
  WorkerClock global_clock;
  GlobalClock info;
  std::optional<StampedClock> early;  ///< a G whose view has not come yet; the newest

  RequestId join_request, view_request;  ///< 0: none unanswered
  TimePoint join_at{};                   ///< when to ask again
  TimePoint ask_at{};
  TimePoint wonder_at{};
  Epoch wanted;
  Epoch asked_for;        ///< what was wanted when the view was asked for
  bool ask_full = false;  ///< a delta did not fit
  bool refused = false;
  bool port_refuses = false;
  std::string join_waits_for;  ///< what the scheduler said when it had no place yet

  std::optional<Tick> tick;
  bool tick_sent = false;
  std::vector<Report> reports;
  TimePoint notices_at = kNever;
  TimePoint now{};
};

void SchedulerLink::State::send_join() {
  const auto& join = options.join;
  FrameHeader header;
  header.kind = FrameKind::join;
  const auto meta =
      encoded(join, 64 + join.name.size() + join.address.size() + encoded_bytes(join.rules));
  const auto sent = session.request(header, meta, {}, 0);
  if (sent.ok()) join_request = *sent;
  join_at = wonder_at = deadline_after(now, kJoinAgain);
}

/// One get_view at a time, with the epoch at issue (0: in full; so the session gets no set_epoch).
/// It also serves as the ping of a silent connection.
bool SchedulerLink::State::ask_view() {
  if (view_request.value != 0 || !session.open() || now < ask_at) return false;
  FrameHeader header;
  header.kind = FrameKind::get_view;
  header.epoch = view && !ask_full ? view->epoch.packed() : 0;
  const auto sent = session.request(header, {}, {}, 0);
  if (sent.ok()) {
    view_request = *sent;
    asked_for = wanted;
  }
  ask_at = deadline_after(now, kAskAgain);
  return true;
}

/// True if something went out. What the transport has no room for stays for the next poll.
bool SchedulerLink::State::send_notices() {
  notices_at = kNever;
  if (!session.open() || !joined) return false;
  bool any = false;
  FrameHeader header;
  header.epoch = view->epoch.packed();
  std::array<std::byte, kSmallMessageBytesMax> buffer;
  const auto send = [&](const auto& m, bool& sent) {
    Writer out(buffer);
    encode(out, m);
    SHOAL_ASSERT(out.ok(), "a notice is larger than its buffer");
    sent = session.send_notice(header, out.written()).ok();
    any = any || sent;
    if (!sent) notices_at = deadline_after(now, kFullRetry);
  };
  if (tick && !tick_sent) {
    header.kind = FrameKind::tick;
    header.clock = tick->reported;
    send(*tick, tick_sent);
  }
  header.kind = FrameKind::report_lost;
  header.clock = WorkerClock{};
  for (auto& report : reports)
    if (!report.sent) send(report.what, report.sent);
  return any;
}

/// The scheduler may be another process now: it gets to know what only notices told the old one,
/// and is asked for its view. Requests are repeated by the session.
void SchedulerLink::State::on_opened() {
  tick_sent = false;
  for (auto& report : reports) report.sent = false;
  ask_at = TimePoint{};
  send_notices();
  if (joined) ask_view();
}

void SchedulerLink::State::on_answer(const Incoming& answer, Change& change) {
  if (answer.id == join_request) return on_joined(answer, change);
  if (answer.id != view_request) {
    change.answered = true;
    change.answer = answer;
    return;
  }
  view_request = RequestId{};
  const auto& words = answer.frame.payload;
  if (!joined) {
    if (answer.status == Errc::not_ready && !words.empty())
      join_waits_for.assign(reinterpret_cast<const char*>(words.data()), words.size());
  } else if (answer.status == Errc::ok) {
    ask_full = false;  // unless what came does not fit either
    on_view(answer.frame, change);
  } else if (answer.status == Errc::unchanged) {
    // An epoch that only a peer named: what does not exist is not waited for. One that was named
    // since we asked may exist.
    if (view && wanted > view->epoch && wanted == asked_for) {
      wanted = view->epoch;
      change.newest = true;
    }
  } else if (answer.status == Errc::fenced || answer.status == Errc::unknown_name) {
    std::string why(reinterpret_cast<const char*>(words.data()), words.size());
    refuse(answer.status,
           fmt::format("the scheduler {} does not know this process any more{}{}",
                       options.scheduler.to_string(), why.empty() ? "" : ": ", why),
           change);
  }
}

void SchedulerLink::State::on_joined(const Incoming& answer, Change& change) {
  join_request = RequestId{};
  join_at = deadline_after(now, kJoinAgain);
  const auto& frame = answer.frame;
  if (answer.status != Errc::ok) {
    std::string why(reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size());
    if (passes(answer.status)) {
      join_waits_for = std::move(why);
      return;
    }
    if (why.empty())
      why = fmt::format("the scheduler {} refused the join: {}", options.scheduler.to_string(),
                        name_of(answer.status));
    return refuse(answer.status, std::move(why), change);
  }
  static const auto joined_bytes = encoded(Joined{}, 256).size();
  const auto parsed = decode<Joined>(frame.meta);
  auto first = parsed.ok() ? decode_view(frame.meta.subspan(joined_bytes))
                           : Result<ClusterView>(parsed.error());
  if (!first.ok()) return;  // no correct scheduler; asked again
  joined = *parsed;
  change.joined = true;
  Hello hello{joined->node, options.join.incarnation, options.join.role, {}, {}};
  session.set_hello(hello);
  adopt(std::move(first).value(), change);
  send_notices();
}

void SchedulerLink::State::on_notice(const FrameView& frame, Change& change) {
  if (frame.header.kind == FrameKind::view) return on_view(frame, change);
  if (frame.header.kind != FrameKind::global_clock) return;
  if (const auto parsed = decode<GlobalClock>(frame.meta); parsed.ok())
    on_global_clock({Epoch::unpacked(frame.header.epoch), frame.header.clock, *parsed}, change);
}

void SchedulerLink::State::on_view(const FrameView& frame, Change& change) {
  if (take_view(frame.header, frame.meta, change).ok()) return;
  ask_full = true;
  ask_view();
}

/// Errors: it is no view, or a delta from another one than ours. One that is not newer is passed
/// by.
Status SchedulerLink::State::take_view(const FrameHeader& header, std::span<const std::byte> bytes,
                                       Change& change) {
  if (!joined) return {};  // the answer to the join brings one: nobody acts on views as nobody
  const auto epoch = Epoch::unpacked(header.epoch);
  if (bytes.empty() || (epoch != Epoch{} && epoch <= view->epoch)) return {};
  const bool delta = (header.flags & frame_flag::kDelta) != 0;
  SHOAL_ASSIGN(auto newer, delta ? apply_delta(*view, bytes) : decode_view(bytes));
  adopt(std::move(newer), change);
  return {};
}

void SchedulerLink::State::adopt(ClusterView&& newer, Change& change) {
  if (view && newer.epoch <= view->epoch) return;
  view = std::make_shared<const ClusterView>(std::move(newer));
  ask_full = false;
  change.view = true;
  if (view->global_clock > global_clock) {
    global_clock = view->global_clock;
    change.global_clock = true;
  }
  std::erase_if(reports, [&](const Report& r) { return view->find_node(r.what.node) == nullptr; });
  if (early && early->epoch <= view->epoch) on_global_clock(*std::exchange(early, {}), change);
}

/// G counts once our own view is at least as new as the one it was computed under; before, a worker
/// could be missing from the roster that our gates know. It never goes back.
void SchedulerLink::State::on_global_clock(const StampedClock& stamped, Change& change) {
  if (!view || stamped.epoch > view->epoch) {
    if (!early || std::tie(stamped.epoch, stamped.clock) >= std::tie(early->epoch, early->clock))
      early = stamped;
    wanted = std::max(wanted, stamped.epoch);
    ask_view();
    return;
  }
  if (stamped.clock < global_clock) return;
  info = stamped.info;
  global_clock = stamped.clock;
  change.global_clock = true;
}

/// What another try cannot mend ends a join. A node that has joined keeps trying: whoever holds the
/// scheduler's port while that is away must not be able to send its nodes home.
void SchedulerLink::State::on_failed_try(Errc status, Change& change) {
  if (joined || (status != Errc::version && status != Errc::untrusted)) return;
  session.close();
  if (status == Errc::untrusted) {
    auto error = wrong_token(options.scheduler, options.token_source);
    return refuse(error.code, "the scheduler " + error.what, change);
  }
  refuse(Errc::version,
         fmt::format("the scheduler {} speaks another wire version: run the same Shoal release on "
                     "every machine",
                     options.scheduler.to_string()),
         change);
}

void SchedulerLink::State::refuse(Errc code, std::string why, Change& change) {
  refused = true;
  change.refused = code;
  change.why = std::move(why);
}

SchedulerLink::SchedulerLink(Transport& transport, Options options)
    : state_(std::make_unique<State>(transport, std::move(options))) {}
SchedulerLink::~SchedulerLink() = default;

const std::optional<Joined>& SchedulerLink::joined() const { return state_->joined; }
const ViewPtr& SchedulerLink::view() const { return state_->view; }
WorkerClock SchedulerLink::global_clock() const { return state_->global_clock; }
const GlobalClock& SchedulerLink::global_clock_info() const { return state_->info; }
bool SchedulerLink::in_touch(TimePoint now) const {
  const auto heard = state_->session.last_heard();
  return heard != TimePoint{} && now - heard < state_->options.silence;
}

/// An open connection is pinged after a third of `silence`.
std::string SchedulerLink::unreachable(TimePoint now) const {
  const auto& s = *state_;
  if (s.session.open() && now - s.session.last_heard() < s.options.silence / 2) return {};
  return "the scheduler cannot be reached: " + s.session.explain();
}

bool SchedulerLink::port_refuses() const { return state_->port_refuses; }

void SchedulerLink::want_view(Epoch at_least) {
  state_->wanted = std::max(state_->wanted, at_least);
  if (state_->view_is_wanted()) state_->ask_view();
}

void SchedulerLink::tick(const Tick& tick) {
  state_->tick = tick;
  state_->tick_sent = false;
  state_->send_notices();
}

void SchedulerLink::report_lost(const ReportLost& report) {
  auto& reports = state_->reports;
  std::erase_if(reports, [&](const State::Report& r) { return r.what.node == report.node; });
  if (reports.size() == kReportsMax) reports.erase(reports.begin());
  reports.push_back({report, false});
  state_->send_notices();
}

Result<RequestId> SchedulerLink::request(FrameKind kind, TableId table,
                                         std::span<const std::byte> meta, std::uint64_t context,
                                         WorkerClock clock) {
  FrameHeader header;
  header.kind = kind;
  header.table = table;
  header.clock = clock;
  header.epoch = state_->view ? state_->view->epoch.packed() : 0;
  return state_->session.request(header, meta, {}, context);
}

/// A cancel goes behind its request, over the same connection; what came over one that broke the
/// scheduler has forgotten.
bool SchedulerLink::cancel(RequestId request) {
  auto& session = state_->session;
  if (session.open() && session.was_sent(request)) {
    FrameHeader header;
    header.kind = FrameKind::cancel;
    header.request = request;
    header.epoch = state_->view ? state_->view->epoch.packed() : 0;
    if (session.send_notice(header, {}).ok()) return true;
    session.break_connection();
  }
  session.withdraw(request);
  return false;
}

/// Again, for the case that the request was repeated only after it was cancelled.
void SchedulerLink::abandon(RequestId request) {
  cancel(request);
  state_->session.withdraw(request);
}

bool SchedulerLink::poll(TimePoint now) {
  auto& s = *state_;
  s.now = now;
  bool any = false;
  if (!s.joined && !s.refused && s.join_request.value == 0 && now >= s.join_at) {
    s.send_join();
    any = true;
  }
  // Pings go unanswered: a half-open connection, or a scheduler that hangs. Try for a new one.
  if (s.session.open() && now - s.session.last_heard() >= s.options.silence * 3 / 2)
    s.session.break_connection();
  s.session.poll(now);
  if (now >= s.notices_at) any = s.send_notices() || any;
  if (s.wonders() && s.session.open() && now >= s.wonder_at) {
    s.wonder_at = deadline_after(now, kWonderAgain);
    any = s.ask_view() || any;
  }
  if (s.view_is_wanted() || s.ping_is_due(now)) any = s.ask_view() || any;
  return any;
}

TimePoint SchedulerLink::next_timer() const {
  const auto& s = *state_;
  auto next = std::min(s.session.next_timer(), s.notices_at);
  if (!s.joined && !s.refused && s.join_request.value == 0) next = std::min(next, s.join_at);
  if (!s.session.open()) return next;
  const auto heard = s.session.last_heard();
  next = std::min(next, deadline_after(heard, s.options.silence * 3 / 2));
  if (s.wonders()) next = std::min(next, s.wonder_at);
  if (s.view_request.value != 0) return next;
  const auto ping_at = deadline_after(heard, s.options.silence / 3);
  return std::min(next, std::max(s.ask_at, s.view_is_wanted() ? TimePoint{} : ping_at));
}

bool SchedulerLink::handle(const Event& event, TimePoint now, Change& change) {
  auto& s = *state_;
  Incoming incoming;
  if (!s.session.handle(event, now, incoming)) return false;
  s.now = now;
  change = Change{};
  using Kind = Incoming::Kind;
  if (incoming.kind != Kind::nothing || incoming.status != Errc::ok)
    s.port_refuses = incoming.kind == Kind::refused;
  switch (incoming.kind) {
    case Incoming::Kind::opened:
      s.on_opened();
      break;
    case Incoming::Kind::answer:
      s.on_answer(incoming, change);
      break;
    case Incoming::Kind::notice:
      s.on_notice(incoming.frame, change);
      break;
    case Incoming::Kind::nothing:
      s.on_failed_try(incoming.status, change);
      break;
    case Incoming::Kind::broken:
    case Incoming::Kind::stranger:
    case Incoming::Kind::refused:
    case Incoming::Kind::bulk:
      break;
  }
  return true;
}

void SchedulerLink::offer_view(const FrameHeader& header, std::span<const std::byte> bytes,
                               Change& change) {
  (void)state_->take_view(header, bytes, change);
}

std::string SchedulerLink::explain() const {
  const auto& s = *state_;
  auto text = s.session.explain();
  if (s.refused) return text + "; the join was refused";
  if (!s.joined)
    return text + "; not joined" + (s.join_waits_for.empty() ? "" : ": " + s.join_waits_for);
  return text + fmt::format("; joined as node {}, view {}.{}, G {}", s.joined->node.value,
                            s.view->epoch.term, s.view->epoch.number, s.global_clock.value);
}

}  // namespace shoal
