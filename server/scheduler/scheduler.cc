#include "server/scheduler/scheduler.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>

#include "core/base/log.h"
#include "server/scheduler/membership_words.h"

namespace shoal {

namespace {

constexpr std::size_t kEventsPerTurn = 256;
constexpr std::string_view kRefused = "its port refuses connections";
/// Connections beside the two of each node: `shoal status`, nodes that are about to be refused.
constexpr std::uint32_t kAskersMax = 1024;
constexpr WorkerClock kNothingSent{std::numeric_limits<std::int64_t>::min()};

SessionServer::Options session_options() {
  SessionServer::Options options;
  options.credits = 256;  // control requests are rare; heartbeats have connections of their own
  options.peers_max = 2 * kNodesMax + kAskersMax;
  return options;
}

}  // namespace

Result<std::unique_ptr<Scheduler>> Scheduler::create(Transport& transport, const Options& options,
                                                     ViewStore& store, TimePoint now) {
  SHOAL_ASSIGN(const auto stored, store.load());
  std::unique_ptr<Scheduler> scheduler(
      new Scheduler(transport, options, store, Membership(options.membership, stored, now)));
  scheduler->polled_at_ = now;
  if (stored)
    log_info(
        "scheduler",
        "takes up the cluster of term {} from its state_dir: {}, {}, {}, G >= {}; who joins now "
        "is not counted again, and a new cluster needs an empty state_dir",
        stored->view.epoch.term, counted(stored->view.nodes.size(), "node"),
        counted(stored->view.tables.size(), "table"), counted(stored->view.roster.size(), "worker"),
        stored->view.global_clock.value);
  return scheduler;
}

Scheduler::Scheduler(Transport& transport, const Options& options, ViewStore& store,
                     Membership membership)
    : transport_(transport),
      options_(options),
      store_(store),
      sessions_(transport, session_options()),
      membership_(std::move(membership)),
      view_(std::make_shared<const ClusterView>()),
      events_(kEventsPerTurn) {}

bool Scheduler::poll(TimePoint now) {
  owner_.check();
  const auto count = transport_.poll(events_);
  for (std::size_t i = 0; i < count; ++i) on_event(events_[i], now);
  watch_self(now);
  membership_.poll(now);
  probe_suspects(now);
  publish(now);
  send_answers();
  send_global_clock();
  sessions_.poll(now);
  while (const auto unsent = sessions_.take_unsent()) lent_.erase(*unsent);
  const bool unsent = views_unsent_ || (clocks_unsent_ && !membership_.recovering());
  retry_at_ = unsent && !membership_.changed() ? deadline_after(now, kFullRetry) : kNever;
  transport_.flush();
  return count > 0;
}

TimePoint Scheduler::next_timer() const {
  auto next = std::min({membership_.next_timer(), sessions_.next_timer(), transport_.next_timer()});
  if (membership_.changed()) next = std::min(next, store_at_);
  // A turn a beat, so that watch_self() can tell an absence from a quiet time.
  return std::min({next, probe_at_, retry_at_, deadline_after(polled_at_, beat())});
}

/// Whoever was stopped, or starved, finds every lease over and the beats of those who hold them
/// unread, or on their way over new connections.
void Scheduler::watch_self(TimePoint now) {
  const auto gap = now - std::exchange(polled_at_, now);
  if (gap <= 2 * beat()) return;
  log_warn("scheduler", "did not run for {} ms; leases are longer by that",
           std::chrono::duration_cast<std::chrono::milliseconds>(gap).count());
  membership_.was_absent(gap, now);
}

void Scheduler::on_event(const Event& event, TimePoint now) {
  if (const auto probed = probes_.find(event.endpoint); probed != probes_.end()) {
    const auto node = probed->second;
    if (event.kind == Event::Kind::connected) transport_.close(event.endpoint);
    probes_.erase(probed);
    if (event.kind == Event::Kind::closed && event.status == Errc::refused)
      membership_.lost(node, kRefused);
    return;
  }
  if (event.kind == Event::Kind::sent) lent_.erase(event.context);
  SessionServer::Served served;
  if (!sessions_.handle(event, now, served)) return;
  switch (served.kind) {
    case SessionServer::Kind::request:
      on_request(*served.peer, served.frame, now);
      break;
    case SessionServer::Kind::notice:
      on_notice(*served.peer, served.frame, now);
      break;
    case SessionServer::Kind::gone:
      on_gone(*served.peer, now);
      break;
    case SessionServer::Kind::greeted:
    case SessionServer::Kind::nothing:
    case SessionServer::Kind::bulk:
      break;
  }
}

Membership::Asker Scheduler::asker(const SessionServer::Peer& peer, const FrameView& frame) {
  asked_.emplace(next_asker_, Asked{peer.endpoint, frame.header.request});
  return next_asker_++;
}

void Scheduler::answer(EndpointId to, RequestId request, Errc code, std::string_view text,
                       std::span<const std::byte> meta, TableId table, std::uint16_t flags) {
  FrameHeader header;
  header.status = static_cast<std::uint16_t>(code);
  header.epoch = view_->epoch.packed();
  header.clock = membership_.global_clock();
  header.table = table;
  header.flags = flags;
  Transport::SendOptions options;
  options.copy_payload = true;
  const ConstMemoryView payload(reinterpret_cast<const std::byte*>(text.data()),
                                std::min(text.size(), Transport::kCopyMax));
  // A peer that went meanwhile asks again over its next connection.
  (void)sessions_.answer(to, request, header, meta,
                         {&payload, text.empty() ? std::size_t{0} : std::size_t{1}}, options,
                         false);
}

void Scheduler::on_request(SessionServer::Peer& peer, const FrameView& frame, TimePoint now) {
  const auto& header = frame.header;
  const auto malformed = [&](const Error& error) {
    answer(peer.endpoint, header.request, Errc::protocol, error.what);
  };
  switch (header.kind) {
    case FrameKind::join: {
      const auto join = decode<Join>(frame.meta);
      if (!join.ok()) return malformed(join.error());
      if (join->role == Role::server && !Address::parse(join->address).ok())
        return answer(peer.endpoint, header.request, Errc::invalid_argument,
                      fmt::format("a server's address '{}' is not host:port", join->address));
      return membership_.join(asker(peer, frame), *join, now);
    }
    case FrameKind::heartbeat:
      return on_heartbeat(peer, frame, now);
    case FrameKind::get_view:
      return on_get_view(peer, frame);
    case FrameKind::open_table: {
      Reader in(frame.meta);
      const auto spec = decode_table_spec(in);
      if (const auto read = in.finish("table spec"); !read.ok()) return malformed(read.error());
      return membership_.open_table(asker(peer, frame), peer.node, header.clock, spec, now);
    }
    case FrameKind::drop_table:
      return membership_.drop_table(asker(peer, frame), peer.node, header.table);
    case FrameKind::set_parameter: {
      const auto change = decode<SetParameter>(frame.meta);
      if (!change.ok()) return malformed(change.error());
      return membership_.set_parameter(asker(peer, frame), peer.node, header.table, *change);
    }
    case FrameKind::barrier: {
      const auto barrier = decode<Barrier>(frame.meta);
      if (!barrier.ok()) return malformed(barrier.error());
      if (barrier->node != peer.node) return malformed({Errc::protocol, "a barrier for another"});
      if (!knows(peer.node))
        return answer(peer.endpoint, header.request, Errc::fenced,
                      fmt::format("the scheduler does not know this process any more: {}",
                                  why_unknown(peer.role, Epoch::unpacked(header.epoch))));
      return membership_.barrier(asker(peer, frame), *barrier);
    }
    case FrameKind::leave:
      return on_leave(peer, frame);
    case FrameKind::straggler:
      return on_straggler(peer, frame);
    case FrameKind::status:
      return answer_long(peer.endpoint, header.request, status_json(now));
    default:
      answer(peer.endpoint, header.request, Errc::protocol, "not a request for a scheduler");
  }
}

void Scheduler::on_notice(const SessionServer::Peer& peer, const FrameView& frame, TimePoint now) {
  if (frame.header.kind == FrameKind::cancel) {
    for (const auto& [asker, asked] : asked_)
      if (asked.endpoint == peer.endpoint && asked.request == frame.header.request)
        return membership_.cancel(asker);
    return;
  }
  if (frame.header.kind == FrameKind::tick) {
    const auto tick = decode<Tick>(frame.meta);
    if (tick.ok() && tick->node == peer.node)
      membership_.tick(*tick, Epoch::unpacked(frame.header.epoch), now);
  } else if (frame.header.kind == FrameKind::report_lost) {
    if (const auto report = decode<ReportLost>(frame.meta); report.ok()) {
      const auto* node = view_->find_node(report->node);
      if (node != nullptr && node->incarnation == report->incarnation) probe(node->id, now);
    }
  }
}

void Scheduler::on_heartbeat(SessionServer::Peer& peer, const FrameView& frame, TimePoint now) {
  const auto beat = decode<Heartbeat>(frame.meta);
  if (!beat.ok()) return answer(peer.endpoint, frame.header.request, Errc::protocol);
  membership_.heard(beat->node, beat->incarnation, beat->turns, now);
  const bool known = membership_.draft().find_node(beat->node) != nullptr;
  answer(peer.endpoint, frame.header.request, known ? Errc::ok : Errc::unknown_name);
}

/// Every node speaks for itself, and an observer that has not joined for workers: who started a
/// worker's process has seen it end, long before its lease.
void Scheduler::on_leave(SessionServer::Peer& peer, const FrameView& frame) {
  const auto leave = decode<Leave>(frame.meta);
  if (!leave.ok())
    return answer(peer.endpoint, frame.header.request, Errc::protocol, leave.error().what);
  if (leave->node != peer.node) {
    const auto* node = membership_.draft().find_node(leave->node);
    const bool worker = node == nullptr || node->role == Role::worker;
    if (peer.role != Role::observer || peer.node.value != 0 || !worker)
      return answer(peer.endpoint, frame.header.request, Errc::protocol, "a leave for another");
    if (node != nullptr)
      log_warn("scheduler", "{}'s process has ended, says who started it", node->name);
  }
  membership_.leave(asker(peer, frame), leave->node);
}

void Scheduler::on_straggler(SessionServer::Peer& peer, const FrameView& frame) {
  const auto asked = decode<Straggler>(frame.meta);
  if (!asked.ok()) return answer(peer.endpoint, frame.header.request, Errc::protocol);
  if (membership_.recovering())
    return answer(peer.endpoint, frame.header.request, Errc::not_ready, waiting_for());
  std::array<std::byte, kSmallMessageBytesMax> buffer;
  Writer out(buffer);
  encode(out, membership_.straggler(asked->worker));
  answer(peer.endpoint, frame.header.request, Errc::ok, {}, out.written());
}

bool Scheduler::knows(NodeId node) const {
  return view_->find_node(node) != nullptr || membership_.draft().find_node(node) != nullptr;
}

/// For a node that has joined and is in no view; `has`: the newest that it saw.
std::string_view Scheduler::why_unknown(Role role, Epoch has) const {
  if (has <= view_->epoch && role == Role::server)
    return "nothing was heard of it for lost_after, or nobody listened at its port; start it again "
           "to join";
  return has > view_->epoch
             ? "it was restarted without the state of the cluster that this process joined "
               "(state_dir): start the cluster's processes anew"
             : "nothing was heard of it for its lease, or it fell behind by straggler_limit; start "
               "it again to join";
}

/// The answer is a view newer than the asker's, or `unchanged`; to a node that is in no view any
/// more, that it has been cut off; to one that has not joined, what that waits for. Tools never
/// join: see docs/design/scheduler.md.
void Scheduler::on_get_view(SessionServer::Peer& peer, const FrameView& frame) {
  const auto has = Epoch::unpacked(frame.header.epoch);
  const bool joined = peer.node.value != 0;
  if (!joined && peer.role != Role::observer)
    return answer(peer.endpoint, frame.header.request, Errc::not_ready, waiting_for());
  if (joined && !knows(peer.node))
    return answer(peer.endpoint, frame.header.request,
                  peer.role == Role::worker ? Errc::fenced : Errc::unknown_name,
                  why_unknown(peer.role, has));
  if (view_->epoch == Epoch{})
    return answer(peer.endpoint, frame.header.request, Errc::not_ready, waiting_for());
  sent_view_[peer.endpoint] = view_->epoch;
  clocks_unsent_ = true;
  if (has == view_->epoch) return answer(peer.endpoint, frame.header.request, Errc::unchanged);
  // Epoch 0 asks for all of it, and is also what a scheduler's first view followed.
  if (has != Epoch{} && previous_ && has == previous_->epoch)
    return answer(peer.endpoint, frame.header.request, Errc::ok, {}, delta_, {},
                  frame_flag::kDelta);
  answer(peer.endpoint, frame.header.request, Errc::ok, {}, full_);
}

void Scheduler::on_gone(SessionServer::Peer& peer, TimePoint now) {
  sent_view_.erase(peer.endpoint);
  sent_clock_.erase(peer.endpoint);
  for (auto at = asked_.begin(); at != asked_.end();) {
    if (at->second.endpoint != peer.endpoint) {
      ++at;
      continue;
    }
    membership_.forget(at->first);
    at = asked_.erase(at);
  }
  if (peer.role != Role::server || peer.node.value == 0) return;
  if (sessions_.find(peer.node) != nullptr) return;  // it has connected again before
  membership_.suspect(peer.node, "has lost its connection");
  probe(peer.node, now);
}

/// A status of a large cluster is longer than the transport copies: it is kept until it was sent.
void Scheduler::answer_long(EndpointId to, RequestId request, std::string text) {
  if (text.size() <= Transport::kCopyMax) return answer(to, request, Errc::ok, text);
  FrameHeader header;
  header.epoch = view_->epoch.packed();
  Transport::SendOptions options;
  options.context = next_lent_++;
  const auto& kept = lent_[options.context] = std::move(text);
  const ConstMemoryView payload(reinterpret_cast<const std::byte*>(kept.data()), kept.size());
  const auto sent = sessions_.answer(to, request, header, {}, {&payload, 1}, options, false);
  if (sent.ok()) return;
  lent_.erase(options.context);
  answer(to, request, sent.code(), sent.error().what);
}

void Scheduler::probe_suspects(TimePoint now) {
  if (now < probe_at_) return;
  const auto suspects = membership_.suspects();
  for (const auto node : suspects) probe(node, now);
  probe_at_ = suspects.empty() ? kNever : deadline_after(now, options_.probe_interval);
}

/// Whether a node's port refuses connections is for the scheduler itself to see.
void Scheduler::probe(NodeId node, TimePoint now) {
  const auto* info = membership_.draft().find_node(node);
  if (info == nullptr || info->role != Role::server) return;
  for (const auto& [endpoint, probed] : probes_)
    if (probed == node) return;
  const auto address = Address::parse(info->address);
  if (!address.ok()) return;
  const auto endpoint = transport_.connect(*address, deadline_after(now, options_.probe_timeout));
  if (endpoint.ok()) {
    probes_.emplace(*endpoint, node);
  } else if (endpoint.code() == Errc::refused) {
    membership_.lost(node, kRefused);
  }
}

std::string Scheduler::waiting_for() const {
  if (!trouble_.empty()) return trouble_;
  return view_->formed && !recovering() ? std::string() : membership_.waiting_for();
}

Status Scheduler::store(TimePoint now) {
  if (!membership_.changed() || now < store_at_) return {};
  auto stored = membership_.stamped();
  if (auto saved = store_.save(stored); !saved.ok()) {
    auto trouble =
        fmt::format("the scheduler cannot store its view: {}; nothing changes until it can",
                    saved.error().message());
    if (trouble != trouble_) log_error("scheduler", "{}", trouble);
    trouble_ = std::move(trouble);
    store_at_ = deadline_after(now, options_.store_retry);
    return saved;
  }
  if (!std::exchange(trouble_, {}).empty()) log_info("scheduler", "its view is stored again");
  previous_ = std::exchange(view_, std::make_shared<const ClusterView>(std::move(stored.view)));
  full_ = encode_view(*view_);
  membership_.commit(full_.size());
  if (!membership_.suspects().empty())
    probe_at_ = std::min(probe_at_, deadline_after(now, options_.probe_interval));
  delta_ = encode_delta(*previous_, *view_);
  views_unsent_ = true;
  return {};
}

/// A view is stored before anyone hears of it.
void Scheduler::publish(TimePoint now) {
  if (!store(now).ok()) return;
  if (!views_unsent_) return;
  views_unsent_ = false;
  sessions_.for_each([&](SessionServer::Peer& peer) {
    if (peer.node.value != 0) send_view(peer);
  });
}

/// Only to peers that have joined here, or asked for a view: others would not know what to do with
/// it.
void Scheduler::send_view(SessionServer::Peer& peer) {
  const auto sent = sent_view_.find(peer.endpoint);
  if (sent == sent_view_.end() || sent->second == view_->epoch) return;
  const bool delta = sent->second == previous_->epoch;
  FrameHeader header;
  header.kind = FrameKind::view;
  header.epoch = view_->epoch.packed();
  header.flags = delta ? frame_flag::kDelta : std::uint16_t{0};
  if (sessions_.send_notice(peer.endpoint, header, delta ? delta_ : full_).ok())
    sent->second = view_->epoch;
  else
    views_unsent_ = true;  // its queue is full: again at the next turn
}

void Scheduler::send_answers() {
  for (const auto& ready : membership_.take_answers()) {
    const auto at = asked_.find(ready.asker);
    if (at == asked_.end()) continue;
    const auto asked = at->second;
    asked_.erase(at);
    if (!ready.joined) {
      // The view that has a new table goes first, on the same lane.
      answer(asked.endpoint, asked.request, ready.code, ready.text, {}, ready.table);
      continue;
    }
    std::vector<std::byte> meta(64);
    Writer out(meta);
    encode(out, *ready.joined);
    meta.resize(out.size());
    meta.insert(meta.end(), full_.begin(), full_.end());
    sessions_.set_node(asked.endpoint, ready.joined->node);
    sent_view_[asked.endpoint] = view_->epoch;
    clocks_unsent_ = true;
    answer(asked.endpoint, asked.request, Errc::ok, {}, meta);
  }
}

/// G goes to the servers when it rises, newest wins; not until the roster has reported after a
/// restart, nor computed under a view that they cannot have.
void Scheduler::send_global_clock() {
  if (membership_.recovering() || membership_.changed() || view_->epoch == Epoch{}) return;
  const auto global_clock = membership_.global_clock();
  if (!clocks_unsent_ && global_clock == clock_told_) return;
  clocks_unsent_ = false;
  clock_told_ = global_clock;
  std::array<std::byte, kSmallMessageBytesMax> buffer;
  Writer out(buffer);
  encode(out, GlobalClock{membership_.holder(), static_cast<std::uint32_t>(view_->roster.size())});
  FrameHeader header;
  header.kind = FrameKind::global_clock;
  header.epoch = view_->epoch.packed();
  header.clock = global_clock;
  sessions_.for_each([&](SessionServer::Peer& peer) {
    if (peer.role != Role::server || !sent_view_.contains(peer.endpoint)) return;
    auto& sent = sent_clock_.try_emplace(peer.endpoint, kNothingSent).first->second;
    if (sent >= global_clock) return;
    if (sessions_.send_notice(peer.endpoint, header, out.written()).ok())
      sent = global_clock;
    else
      clocks_unsent_ = true;  // its queue is full: again at the next turn
  });
}

}  // namespace shoal
