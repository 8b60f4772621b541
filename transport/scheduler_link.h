#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "core/cluster/messages.h"
#include "transport/loop.h"
#include "transport/session.h"

namespace shoal {

/// A node's side of the scheduler: joins, keeps the view and G up to date, tells the scheduler what
/// it has to know, survives the scheduler's restart. Servers, workers and observers share it.
/// Belongs to its node's loop. See docs/design/protocol.md, "Views", and docs/design/sessions.md,
/// "The link".
///
/// Of the scheduler it expects: a view (header.epoch, flag kDelta) or G by notice; an answer to
/// get_view whose meta is a view newer than header.epoch of the request, or empty with
/// Errc::unchanged if there is none; a refusal's sentence as the payload. Where nothing was heard
/// for a third of `silence` it sends get_view to hear something.
class SchedulerLink {
 public:
  struct Options {
    Address scheduler;
    Join join;
    Duration silence;  ///< Without a word of the scheduler for this long `in_touch` is false.
    Duration connect_timeout = std::chrono::seconds(5);  ///< of one try
    std::uint64_t seed = 1;
    std::string token_source = "token_file";  ///< token_source(): where to look if it is wrong
  };
  SchedulerLink(Transport& transport, Options options);
  ~SchedulerLink();

  /// The answer to join(): not there until it came. An Error: refused for good.
  const std::optional<Joined>& joined() const;
  /// The newest view, full; never older than before, and never null once joined.
  const ViewPtr& view() const;
  /// G as the scheduler sent it last, under a view that we have; the view's own at first.
  WorkerClock global_clock() const;
  const GlobalClock& global_clock_info() const;
  /// False: no word of the scheduler for a lease: a server stops answering until it has heard.
  bool in_touch(TimePoint now) const;
  /// For people: that the scheduler cannot be reached, why and since when. Empty: it can be, as far
  /// as we know.
  std::string unreachable(TimePoint now) const;

  /// The last try to connect found that nobody listens there: the scheduler's process has ended.
  bool port_refuses() const;

  /// Asks for a newer view: somebody's epoch is ahead of ours.
  void want_view(Epoch at_least);
  void tick(const Tick& tick);  ///< newest wins; repeated after reconnects until superseded
  /// Repeated after reconnects until a view comes without that node.
  void report_lost(const ReportLost& report);
  /// Requests of the user's API. The answers come as Change::answer. Errors: Session::request's.
  /// `clock`: the local clock, for open_table.
  Result<RequestId> request(FrameKind kind, TableId table, std::span<const std::byte> meta,
                            std::uint64_t context, WorkerClock clock = WorkerClock(0));
  /// Asks the scheduler to let go of a request; its answer still comes. False: it never will, and
  /// nothing of the request is or will be at the scheduler.
  bool cancel(RequestId request);
  /// The same without waiting for an answer: none is reported any more.
  void abandon(RequestId request);

  /// One turn's time-driven work. True if it did something.
  bool poll(TimePoint now);
  TimePoint next_timer() const;
  /// True if the event was the link's. `changed` is set when view or G changed; `answer` when a
  /// request() of the owner was answered.
  struct Change {
    bool joined = false;
    bool view = false;
    bool global_clock = false;
    bool newest = false;  ///< the scheduler has no view newer than ours, whatever others say
    bool answered = false;
    Incoming answer;          ///< frame is valid until the transport's next poll
    Errc refused = Errc::ok;  ///< join was refused for good, or we are not known any more; `why`
    std::string why;
  };
  bool handle(const Event& event, TimePoint now, Change& change);
  /// A view of the scheduler's that a peer passed on, as in a notice of its own. Taken if it is
  /// newer and fits; whoever still lacks the peer's epoch then asks for it with want_view().
  void offer_view(const FrameHeader& header, std::span<const std::byte> bytes, Change& change);
  std::string explain() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The heartbeats of one node: an object of its own, with a transport and (on sockets) a thread of
/// its own, so that a long kernel or a caller-driven loop costs no lease. `turns` is the main
/// loop's counter, read with relaxed order. Its hello names no node, so that the scheduler finds
/// only the link under the NodeId. One heartbeat at a time is unanswered.
class Heart final : public Pollable {
 public:
  struct Options {
    Address scheduler;
    Role role = Role::worker;
    NodeId node;
    Incarnation incarnation;
    Duration beat;
    Duration connect_timeout = std::chrono::seconds(5);  ///< of one try; four beats are the most
  };
  Heart(Transport& transport, Options options, const std::atomic<std::uint64_t>& turns);
  ~Heart() override;
  bool poll(TimePoint now) override;
  TimePoint next_timer() const override;
  Transport& transport() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shoal
