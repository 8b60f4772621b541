#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/clock.h"
#include "core/base/owner.h"
#include "core/base/result.h"
#include "server/scheduler/membership.h"
#include "server/scheduler/view_store.h"
#include "transport/loop.h"
#include "transport/session.h"
#include "transport/transport.h"

namespace shoal {

/// The cluster's scheduler: membership, table catalogue, placement, the global clock. The only
/// writer of views. A Pollable around the state machine Membership: takes in what nodes say, stores
/// each new view, then sends it. Survives a kill: a new one with the same store takes the cluster
/// up again.
class Scheduler final : public Pollable {
 public:
  struct Options {
    Membership::Options membership;
    Duration probe_timeout = std::chrono::seconds(1);
    Duration probe_interval = std::chrono::seconds(1);  ///< of each suspect server
    Duration store_retry = std::chrono::seconds(1);
  };
  /// `transport` listens already. `store` and `transport` outlive the scheduler. Errors: those of
  /// ViewStore::load.
  static Result<std::unique_ptr<Scheduler>> create(Transport& transport, const Options& options,
                                                   ViewStore& store, TimePoint now);

  bool poll(TimePoint now) override;
  TimePoint next_timer() const override;
  Transport& transport() override { return transport_; }

  /// The last view that was stored and sent.
  const ViewPtr& view() const { return view_; }
  WorkerClock global_clock() const { return membership_.global_clock(); }
  bool recovering() const { return membership_.recovering(); }
  /// Stores the next view, if there is one, as poll() does by itself: who starts a scheduler hears
  /// at once that it cannot. Errors: ViewStore::save's.
  Status store(TimePoint now);
  /// What joiners wait for, for people; empty: nothing, it is formed.
  std::string waiting_for() const;
  /// What `shoal status` prints, as JSON.
  std::string status_json(TimePoint now) const;

 private:
  struct Asked {  // a request that the membership will answer
    EndpointId endpoint;
    RequestId request;
  };

  Scheduler(Transport& transport, const Options& options, ViewStore& store, Membership membership);
  void on_event(const Event& event, TimePoint now);
  void on_request(SessionServer::Peer& peer, const FrameView& frame, TimePoint now);
  void on_notice(const SessionServer::Peer& peer, const FrameView& frame, TimePoint now);
  void on_heartbeat(SessionServer::Peer& peer, const FrameView& frame, TimePoint now);
  void on_leave(SessionServer::Peer& peer, const FrameView& frame);
  void on_straggler(SessionServer::Peer& peer, const FrameView& frame);
  bool knows(NodeId node) const;
  std::string_view why_unknown(Role role, Epoch has) const;
  void on_get_view(SessionServer::Peer& peer, const FrameView& frame);
  void on_gone(SessionServer::Peer& peer, TimePoint now);
  Membership::Asker asker(const SessionServer::Peer& peer, const FrameView& frame);
  void answer(EndpointId to, RequestId request, Errc code, std::string_view text = {},
              std::span<const std::byte> meta = {}, TableId table = {}, std::uint16_t flags = 0);
  void publish(TimePoint now);
  void send_view(SessionServer::Peer& peer);
  void send_answers();
  void send_global_clock();
  void probe(NodeId node, TimePoint now);
  void watch_self(TimePoint now);
  Duration beat() const { return options_.membership.server_beat; }
  void probe_suspects(TimePoint now);
  void answer_long(EndpointId to, RequestId request, std::string text);

  Transport& transport_;
  const Options options_;
  ViewStore& store_;
  Owner owner_;
  SessionServer sessions_;
  Membership membership_;
  ViewPtr view_, previous_;
  std::vector<std::byte> full_, delta_;    ///< view_ encoded: whole, and since previous_
  TimePoint store_at_{};                   ///< after a failed save: when to try again
  std::string trouble_;                    ///< why it failed, for people; empty: it did not
  std::map<EndpointId, Epoch> sent_view_;  ///< the newest view that each peer has been sent
  std::map<EndpointId, WorkerClock> sent_clock_;
  std::map<EndpointId, NodeId> probes_;
  std::map<Membership::Asker, Asked> asked_;
  Membership::Asker next_asker_ = 1;
  bool views_unsent_ = false;
  bool clocks_unsent_ = false;                 ///< a server may not have the newest G yet
  WorkerClock clock_told_;                     ///< the G that servers were last told
  TimePoint retry_at_ = kNever;                ///< for peers whose queues were full
  TimePoint polled_at_{};                      ///< the last turn
  TimePoint probe_at_ = kNever;                ///< while there are suspects
  std::map<std::uint64_t, std::string> lent_;  ///< texts lent to the transport, by context
  std::uint64_t next_lent_ = 1;
  std::vector<Event> events_;
};

}  // namespace shoal
