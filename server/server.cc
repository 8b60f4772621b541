#include "server/server.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/log.h"
#include "core/base/owner.h"
#include "server/engine/directories.h"
#include "server/engine/exports.h"
#include "server/engine/held_requests.h"
#include "server/engine/plane.h"
#include "server/engine/pulls.h"
#include "server/engine/pushes.h"
#include "transport/endpoint_map.h"

namespace shoal {

namespace {
constexpr int kFoldsPerTurn = 4;  ///< segments; a part's apply each
}  // namespace

struct Server::State {
  State(Transport& transport_of_server, Options o, ServerMetrics& m, std::unique_ptr<Shard> s,
        Arena landing, Arena waiting, Arena gathered)
      : options(std::move(o)),
        metrics(m),
        transport(transport_of_server),
        exports(transport),
        shard(std::move(s)),
        sessions(transport, {.node = NodeId(0),
                             .incarnation = options.link.join.incarnation,
                             .credits = options.limits.credits,
                             .parked_quota = options.limits.parked_quota,
                             .peers_max = options.limits.peers_max}),
        link(transport, options.link),
        plane(transport, sessions, *shard, metrics, options.limits, std::move(landing),
              std::move(waiting), std::move(gathered), options.trace),
        pushes(plane, options.faults),
        pulls(plane),
        directories(plane),
        held(plane),
        events(options.limits.events_per_turn) {
    // Peers READ what the CPU has written, not what a device is about to.
    if (!shard->late()) shard->set_exporter(exports);
  }
  /// Loans end before the memory that was lent.
  ~State() {
    for (const auto& [endpoint, peer] : peers) sessions.close(endpoint);
  }

  bool receive();
  void on_event(const Event& event);
  void on_request(Peer& peer, const FrameView& frame);
  void on_notice(Peer& peer, const FrameView& frame);
  void serve(Peer& peer, const FrameView& frame);
  void send_to_scheduler(Peer& peer, const FrameHeader& header);
  void on_change(const SchedulerLink::Change& change);
  void on_view();
  void on_global_clock();
  void check_touch();
  void check_device();
  bool look_again();
  bool fold();
  void close_others(const SessionServer::Peer& session);
  void close_stalled();
  void close_stalled(Peer& peer, std::string_view what);
  std::string name_of(NodeId node) const;
  void close_dropped();
  bool has_news() const;
  void tell_traffic();
  void close_all(std::vector<Peer*>& some);
  void close(Peer& peer);
  void bury(Peer& peer);
  Peer* peer_of(const SessionServer::Peer& session);

  Options options;
  ServerMetrics& metrics;
  Transport& transport;
  RegionExports exports;
  std::unique_ptr<Shard> shard;
  SessionServer sessions;
  SchedulerLink link;
  Plane plane;
  Pushes pushes;
  Pulls pulls;
  Directories directories;
  HeldRequests held;
  std::vector<Event> events;
  EndpointMap<std::unique_ptr<Peer>> peers;
  std::vector<std::unique_ptr<Peer>> buried;  ///< gone, and still owed something
  std::vector<SlotState*> kicked;
  std::vector<SlotState*> to_fold;
  Status status;
  std::optional<RequestId> leaving;
  bool left = false;
  Tick told;            ///< the traffic that the scheduler was told of last
  Epoch told_under;     ///< the view of that time: with tables go rows
  TimePoint tell_at{};  ///< and when it may be told more
  Owner owner;
  std::atomic<std::uint64_t> turns{0};
  std::unique_ptr<ServerMetrics> metrics_storage;
};

Result<std::unique_ptr<Server>> Server::create(Transport& transport, Device& device,
                                               const RuleSet& rules, Options options) {
  const bool late = device.space() == MemorySpace::cuda;
  SHOAL_ASSERT(late == (options.pinned != nullptr), "rows on a GPU pass through pinned memory");
  auto& host = late ? *options.pinned : device;
  const auto& limits = options.limits;
  if (limits.landing_bytes < 2 * ServerLimits::kPartBytesMax ||
      limits.gather_bytes < 2 * kSegmentBytes || limits.waiting_bytes < Arena::kGranule)
    return Error{Errc::invalid_argument,
                 fmt::format("a server needs landing memory for two parts ({} MiB) and as much to "
                             "gather rows in",
                             2 * ServerLimits::kPartBytesMax >> 20)};
  options.link.join.rules = rules.infos(late ? DeviceKind::cuda : DeviceKind::host);
  SHOAL_TRY(validate(options.link.join.rules));
  auto metrics = std::make_unique<ServerMetrics>();
  SHOAL_ASSIGN(auto shard, Shard::create(device, host, rules, limits, *metrics));
  options.link.join.memory_bytes = shard->budget().limit() - shard->budget().used();
  SHOAL_ASSIGN(auto landing, Arena::create(host, limits.landing_bytes));
  SHOAL_ASSIGN(auto waiting, Arena::create(host, limits.waiting_bytes));
  SHOAL_ASSIGN(auto gathered, Arena::create(host, limits.gather_bytes));
  auto& counters = *metrics;
  auto state = std::make_unique<State>(transport, std::move(options), counters, std::move(shard),
                                       std::move(landing), std::move(waiting), std::move(gathered));
  state->metrics_storage = std::move(metrics);
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}
Server::~Server() = default;

void Server::release_loop() { state_->owner.release(); }

/// One turn, in this order: news first, then what they let go on, then the long work in pieces.
bool Server::poll(TimePoint now) {
  auto& s = *state_;
  s.owner.check();
  s.plane.now = now;
  s.turns.store(s.turns.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  bool busy = s.link.poll(now);
  s.sessions.poll(now);
  busy |= s.receive();
  s.check_touch();
  busy |= s.pushes.end_settled();
  s.check_device();
  busy |= s.pushes.apply_landed();
  busy |= s.look_again();
  busy |= s.fold();
  busy |= s.pushes.start_reads();
  busy |= s.pulls.send();
  busy |= s.directories.expose_some();
  s.pulls.expire();
  s.close_stalled();
  s.tell_traffic();
  return busy;
}

TimePoint Server::next_timer() const {
  const auto& s = *state_;
  auto next = std::min({s.link.next_timer(), s.sessions.next_timer(), s.transport.next_timer(),
                        s.pulls.next_timer(), s.plane.landing.stalls_at()});
  if (s.pushes.blocked() || s.pulls.blocked())
    next = std::min(next, deadline_after(s.plane.now, kFullRetry));
  if (!s.to_fold.empty() && s.plane.copy_waiters.empty()) next = s.plane.now;
  // Nothing wakes this loop when a device has done its work.
  const bool waits_for_room = s.plane.shard.late() && !s.plane.copy_waiters.empty();
  if (s.pushes.settling() || s.pulls.settling() || waits_for_room) next = s.plane.now;
  if (s.directories.busy()) next = s.plane.now;
  if (s.has_news()) next = std::min(next, s.tell_at);
  return next;
}

/// Whether requests or a view have come since the scheduler was told.
bool Server::State::has_news() const {
  return link.joined() && plane.view != nullptr &&
         (told_under != plane.view->epoch || metrics.pushes != told.pushes ||
          metrics.pulls != told.pulls || metrics.bytes_in != told.bytes_pushed ||
          metrics.bytes_out != told.bytes_pulled);
}

/// What `shoal status` shows of a server, at most once a beat.
void Server::State::tell_traffic() {
  if (!has_news() || plane.now < tell_at) return;
  tell_at = deadline_after(plane.now, link.joined()->beat);
  told.node = link.joined()->node;
  told_under = plane.view->epoch;
  told.bytes_pushed = metrics.bytes_in;
  told.bytes_pulled = metrics.bytes_out;
  told.pushes = metrics.pushes;
  told.pulls = metrics.pulls;
  told.parked = 0;
  sessions.for_each([&](const SessionServer::Peer& peer) { told.parked += peer.parked; });
  told.sparse_bytes = 0;
  shard->for_each_slot([&](SlotState& slot) {
    if (const auto* sparse = slot.sparse()) told.sparse_bytes += sparse->memory_bytes();
  });
  link.tick(told);
}

bool Server::State::receive() {
  const auto count = transport.poll(events);
  for (std::size_t i = 0; i < count; ++i) on_event(events[i]);
  if (count > 0) transport.flush();  // What could be answered at once does not wait for the rest.
  return count > 0;
}

void Server::State::on_event(const Event& event) {
  using Kind = Event::Kind;
  if (event.kind == Kind::read_done || event.kind == Kind::write_done) {
    const auto index = event.context >> kTagBits;
    switch (event.context & kTagMask) {
      case kReadTag:
        return pushes.read_done(index, event.status);
      case kKeyReadTag:
        return pulls.key_read_done(index, event.status);
      case kWriteTag:
        return pulls.write_done(index);
      default:
        return;
    }
  }
  SchedulerLink::Change change;
  if (link.handle(event, plane.now, change)) return on_change(change);
  SessionServer::Served served;
  if (!sessions.handle(event, plane.now, served) || served.peer == nullptr) return;
  switch (served.kind) {
    case SessionServer::Kind::greeted: {
      close_others(*served.peer);
      auto& peer = peers[served.peer->endpoint];
      peer = std::make_unique<Peer>();
      peer->endpoint = served.peer->endpoint;
      peer->node = served.peer->node;
      peer->role = served.peer->role;
      return;
    }
    case SessionServer::Kind::request:
      if (auto* peer = peer_of(*served.peer)) {
        const auto node = peer->node;
        plane.trace.received = plane.trace.now();
        on_request(*peer, served.frame);
        plane.trace.served(node, served.frame.header);
      }
      return;
    case SessionServer::Kind::notice:
      if (auto* peer = peer_of(*served.peer)) on_notice(*peer, served.frame);
      return;
    case SessionServer::Kind::gone:
      if (auto* peer = peer_of(*served.peer)) bury(*peer);
      return;
    case SessionServer::Kind::bulk:
    case SessionServer::Kind::nothing:
      return;
  }
}

/// Connections overtake each other: what a worker sent over its last one may come after it was sent
/// again over this one, and would take the place of what this one answers for. If it is this one
/// that is old, its worker connects once more.
void Server::State::close_others(const SessionServer::Peer& session) {
  if (session.node.value == 0) return;
  std::vector<Peer*> others;
  for (const auto& [endpoint, peer] : peers)
    if (peer->node == session.node) others.push_back(peer.get());
  close_all(others);
}

Peer* Server::State::peer_of(const SessionServer::Peer& session) {
  const auto* found = peers.find(session.endpoint);
  return found != nullptr ? found->get() : nullptr;
}

void Server::State::on_request(Peer& peer, const FrameView& frame) {
  if (!plane.device_status.ok()) return;  // The rows are lost: what was issued was not done.
  const auto epoch = Epoch::unpacked(frame.header.epoch);
  const auto kind = frame.header.kind;
  if (kind != FrameKind::push && kind != FrameKind::pull && kind != FrameKind::directory)
    return send_to_scheduler(peer, frame.header);
  if (plane.view == nullptr)
    return plane.answer(peer, frame.header.request, false, frame.header.table, Errc::not_ready, 0,
                        {});
  if (epoch > plane.view->epoch || peer.held > 0) {
    if (epoch > plane.view->epoch) link.want_view(epoch);
    if (!held.hold(peer, frame))
      plane.answer(peer, frame.header.request, false, frame.header.table, Errc::overloaded, 0, {});
    return;
  }
  serve(peer, frame);
}

/// Who joins a server, or asks it for the status, was given the wrong address.
void Server::State::send_to_scheduler(Peer& peer, const FrameHeader& header) {
  const auto text = fmt::format(
      "{} is the address of a server, not of the scheduler, which this server knows as {}: give "
      "that one (--scheduler, SHOAL_SCHEDULER)",
      options.link.join.address, options.link.scheduler.to_string());
  const auto bytes = std::as_bytes(std::span(text));
  const ConstMemoryView payload(bytes.data(), std::min(bytes.size(), Transport::kCopyMax));
  Transport::SendOptions copied;
  copied.copy_payload = true;
  (void)sessions.answer(peer.endpoint, header.request, plane.answer_header({}, Errc::refused, 0),
                        {}, {&payload, 1}, copied, false);
}

void Server::State::serve(Peer& peer, const FrameView& frame) {
  const auto& header = frame.header;
  const auto refuse = [&](Errc why) {
    plane.answer(peer, header.request, false, header.table, why, 0, {});
  };
  const bool push = header.kind == FrameKind::push;
  const bool observer = !push && peer.role == Role::observer;
  const auto member = shard->members().find(peer.node);
  if (member == Members::kNone && !observer) {
    ++metrics.fenced;
    return refuse(Errc::fenced);
  }
  auto* table = shard->find(header.table);
  if (table == nullptr)
    return Epoch::unpacked(header.epoch) < plane.view->epoch
               ? plane.answer_stale(peer, header.request, header.table, header.epoch)
               : refuse(Errc::unknown_name);
  // There is no slot that asks for the sequence numbers which a burn takes: it is done. Refused, it
  // would be repeated for ever and hold back its worker's clock, so everybody's.
  if (table->broken != Errc::ok && push && (header.flags & frame_flag::kBurnt) != 0)
    return refuse(Errc::cancelled);
  if (table->broken != Errc::ok)
    return plane.refuse(peer, header.request, header.table, table->broken, table->why);
  const bool sound = push ? pushes.handle(peer, member, *table, frame)
                     : header.kind == FrameKind::pull
                         ? pulls.handle(peer, member, observer, *table, frame)
                         : directories.handle(peer, *table, frame);
  if (sound) return;
  ++metrics.malformed;
  close(peer);
}

void Server::State::on_notice(Peer& peer, const FrameView& frame) {
  if (frame.header.kind != FrameKind::cancel) return;
  const auto request = frame.header.request;
  if (held.cancel(peer, request))
    return plane.answer(peer, request, false, frame.header.table, Errc::cancelled, 0, {});
  pulls.cancel(peer, request);
}

void Server::State::on_change(const SchedulerLink::Change& change) {
  if (change.answered && leaving == change.answer.id) left = true;
  if (change.joined) {
    plane.self = link.joined()->node;
    if (options.trace != nullptr) options.trace->joined(plane.self);
    sessions.set_identity(plane.self, options.link.join.incarnation);
  }
  if (change.refused != Errc::ok && leaving) left = true;  // The view without us came first.
  if (change.refused != Errc::ok && status.ok() && !leaving) {
    status = Error{change.refused, change.why};
    log_error("server", "the scheduler refused this server: {}", change.why);
  }
  if (change.joined || change.view) on_view();
  if (change.joined || change.view || change.global_clock) on_global_clock();
  if (change.newest)  // Who names a view that does not exist is answered under ours.
    held.release([&](Peer& peer, const FrameView& frame) { serve(peer, frame); }, true);
}

void Server::State::on_view() {
  if (link.view() == nullptr || plane.self.value == 0 || plane.view == link.view()) return;
  plane.take_view(link.view());
  if (options.trace != nullptr)
    for (const auto& table : plane.view->tables)
      options.trace->name_table(table.id, table.spec.name);
  for (const auto member : shard->update_members(*plane.view)) {
    pushes.drop(member);
    pulls.drop(member);
    shard->forget(member);
  }
  close_dropped();
  shard->update(*plane.view, plane.self, [&](SlotState& slot, Errc why) {
    pushes.drop(slot, why);
    pulls.drop(slot, why);
    directories.drop(slot);
    plane.forget_slot(slot);
    std::erase(kicked, &slot);
    std::erase(to_fold, &slot);
  });
  shard->for_each_slot([&](SlotState& slot) { plane.kick(slot); });
  held.release([&](Peer& peer, const FrameView& frame) { serve(peer, frame); });
}

void Server::State::on_global_clock() {
  plane.clock_info = link.global_clock_info();
  const auto clock = link.global_clock();
  if (plane.view == nullptr || clock <= plane.global_clock) return;
  plane.global_clock = clock;
  shard->for_each_slot([&](SlotState& slot) {
    if (!slot.rules().sums()) return;
    if (slot.parts_waiting != 0 || !slot.pulls_waiting.empty()) plane.kick(slot);
    if (slot.lags(clock) && !slot.in_fold_queue) {
      slot.in_fold_queue = true;
      to_fold.push_back(&slot);
    }
  });
  pulls.open_gate();
}

/// A server that the scheduler may have given up must not answer: another may have its slots.
void Server::State::check_touch() {
  const bool silent = plane.view != nullptr && !link.in_touch(plane.now);
  if (silent == plane.silent) return;
  plane.silent = silent;
  log_warn("server", "{}",
           silent ? "no word of the scheduler for a lease: answers wait until it is "
                    "heard again"
                  : "the scheduler is heard again: answers go out");
  if (silent) return;
  pushes.answer_finished();
  pulls.open_gate();
}

/// Rows on a device that has failed are gone, and with them what this server is for.
void Server::State::check_device() {
  if (plane.device_status.ok() || !status.ok()) return;
  status = plane.device_status;
  log_error("server", "the rows are lost with {}: {}", shard->device().name(),
            status.error().message());
}

bool Server::State::look_again() {
  if (plane.kicked.empty()) return false;
  std::swap(kicked, plane.kicked);
  // A slot that is dropped meanwhile leaves the list, so it is walked from the back.
  while (!kicked.empty()) {
    auto* slot = kicked.back();
    kicked.pop_back();
    slot->kicked = false;
    if (!slot->waits_for_copy) slot->fold_waiting();
    if (slot->has_folds_waiting()) plane.wait_for_copy(*slot);
    pushes.advance(*slot);
    pulls.advance(*slot);
  }
  return true;
}

bool Server::State::fold() {
  bool folded = false;
  for (int i = 0; i < kFoldsPerTurn && !to_fold.empty(); ++i) {
    auto* slot = to_fold.back();
    if (slot->fold_some(plane.global_clock)) {
      folded = true;
      continue;
    }
    if (slot->lags(plane.global_clock)) {
      plane.wait_for_copy(*slot);
      break;
    }
    slot->in_fold_queue = false;
    to_fold.pop_back();
  }
  return folded;
}

void Server::State::close_stalled() {
  if (auto* peer = pulls.stalled()) {
    ++metrics.sends_given_up;
    close_stalled(*peer, "taken the rows that it pulls");
  }
  if (auto* peer = plane.landing.stalled(plane.now)) {
    ++metrics.reads_given_up;
    close_stalled(*peer, "let its pushes be read");
  }
}

void Server::State::close_stalled(Peer& peer, std::string_view what) {
  log_warn("server",
           "{} has not {} for {} ms while others wait for the memory: its connection is closed; it "
           "connects again by itself and goes on",
           name_of(peer.node), what,
           std::chrono::duration_cast<std::chrono::milliseconds>(options.limits.stall).count());
  close(peer);
}

/// For messages to people.
std::string Server::State::name_of(NodeId id) const {
  const auto* node = plane.view != nullptr ? plane.view->find_node(id) : nullptr;
  if (node == nullptr) return fmt::format("node {}", id.value);
  const auto at = node->address.empty() ? "" : fmt::format(" at {}", node->address);
  return fmt::format("{} '{}'{} (node {})", shoal::name_of(node->role), node->name, at, id.value);
}

/// A worker that was dropped may be one that stopped: it would hold for ever what its READs and
/// WRITEs stand in. If it lives, it connects again, and hears there that it is fenced.
void Server::State::close_dropped() {
  std::vector<Peer*> dropped;
  for (const auto& [endpoint, peer] : peers)
    if (peer->role == Role::worker && (peer->reads != 0 || peer->pins != 0) &&
        shard->members().find(peer->node) == Members::kNone)
      dropped.push_back(peer.get());
  close_all(dropped);
}

/// In the order of their numbers, not of the map: a simulation's runs are equal.
void Server::State::close_all(std::vector<Peer*>& some) {
  std::sort(some.begin(), some.end(),
            [](const Peer* a, const Peer* b) { return a->endpoint < b->endpoint; });
  for (auto* peer : some) close(*peer);
}

void Server::State::close(Peer& peer) {
  sessions.close(peer.endpoint);
  bury(peer);
}

/// A connection has ended: what waits of it goes; what is under way comes back first.
void Server::State::bury(Peer& peer) {
  auto* found = peers.find(peer.endpoint);
  if (found == nullptr || found->get() != &peer) return;
  peer.gone = true;
  held.drop(peer);
  pushes.drop(peer);
  pulls.drop(peer);
  plane.landing.forget(peer);
  buried.push_back(std::move(*found));
  peers.erase(peer.endpoint);
  std::erase_if(buried, [](const std::unique_ptr<Peer>& p) { return p->idle(); });
}

void Server::leave() {
  auto& s = *state_;
  s.owner.check();
  if (s.leaving || s.left) return;
  const auto sent = s.link.joined()
                        ? s.link.request(FrameKind::leave, {},
                                         encoded(Leave{s.plane.self}, kSmallMessageBytesMax), 0)
                        : Result<RequestId>(Error{Errc::not_ready, "it has not joined"});
  if (sent.ok())
    s.leaving = *sent;
  else
    s.left = true;  // Nobody is there to be told.
}

bool Server::left() const { return state_->left; }
Transport& Server::transport() { return state_->transport; }
const std::atomic<std::uint64_t>& Server::turns() const { return state_->turns; }
NodeId Server::node() const { return state_->plane.self; }
const SchedulerLink& Server::link() const { return state_->link; }
const Status& Server::status() const { return state_->status; }
const ServerMetrics& Server::metrics() const { return state_->metrics; }
std::uint64_t Server::memory_used() const { return state_->shard->budget().used(); }
Shard& Server::shard() { return *state_->shard; }

}  // namespace shoal
