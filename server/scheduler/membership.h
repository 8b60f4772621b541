#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "core/cluster/messages.h"
#include "core/consistency/clock_table.h"
#include "server/scheduler/server_memory.h"
#include "server/scheduler/view_store.h"

namespace shoal {

/// The scheduler's logic as a pure state machine: what nodes say and the time go in; a draft of the
/// next view, and answers that may be sent once it is stored, come out. Knows no network. See
/// docs/design/protocol.md, "Views", "Clocks and staleness", "Liveness".
class Membership {
 public:
  struct Options {
    std::uint32_t servers_expected = 1;
    std::uint32_t workers_expected = 1;
    Duration form_timeout = std::chrono::seconds(60);
    Duration server_beat = std::chrono::milliseconds(250);
    Duration server_lease = std::chrono::seconds(2);
    Duration worker_beat = std::chrono::seconds(1);
    Duration worker_lease = std::chrono::seconds(10);
    Duration lost_after = std::chrono::seconds(30);
    Duration open_timeout = std::chrono::seconds(20);  ///< collective tables wait for all, so long
    std::int64_t straggler_limit = 0;                  ///< clocks; 0: nobody is removed
    bool join_at_global_clock = false;                 ///< a fault, for tests only
  };
  /// Who asked: a number of the caller's, never used twice, given back with the answer.
  using Asker = std::uint64_t;
  struct Answer {
    Asker asker = 0;
    Errc code = Errc::ok;
    std::string text;  ///< of a refusal, for a person
    TableId table;     ///< open_table
    std::optional<Joined> joined;
  };
  /// What a node said of itself, for `status`.
  struct Vitals {
    TimePoint last_heard{};
    std::uint64_t turns = 0;  ///< of its main loop, as its heartbeats say
    TimePoint turned_at{};    ///< when they last rose
    bool hung = false;        ///< a server that beats, and whose loop stands still for a lease
    Tick tick;
  };

  /// `stored`: of an earlier scheduler of this cluster. Raises the term and gives everybody a fresh
  /// lease; `recovering()` until the roster has reported.
  Membership(const Options& options, const std::optional<StoredView>& stored, TimePoint now);

  // What happens. Each request is answered once, by take_answers(), when its view has been stored.
  void join(Asker asker, const Join& join, TimePoint now);
  void heard(NodeId node, Incarnation incarnation, std::uint64_t turns, TimePoint now);
  /// `seen`: the view of who says so.
  void tick(const Tick& tick, Epoch seen, TimePoint now);
  void leave(Asker asker, NodeId node);
  /// `clock`: the opener's local clock.
  void open_table(Asker asker, NodeId opener, WorkerClock clock, const TableSpec& spec,
                  TimePoint now);
  /// `from`: a worker of the roster, or 0: a person's tool, which joins nothing.
  void drop_table(Asker asker, NodeId from, TableId table);
  void set_parameter(Asker asker, NodeId from, TableId table, const SetParameter& change);
  void barrier(Asker asker, const Barrier& barrier);
  /// The asker gives up: what still waits is taken back and answered with `cancelled`; what is
  /// decided already stays so.
  void cancel(Asker asker);
  /// The connection of an asker ended: nobody waits for its answers any more.
  void forget(Asker asker);
  /// A server may be lost: `why`, for the log.
  void suspect(NodeId node, std::string_view why);
  /// Its port refuses connections, or another process has its place: its slots are lost.
  void lost(NodeId node, std::string_view why);
  /// For `time` until `now` nobody could have been heard: it counts as nobody's silence.
  void was_absent(Duration time, TimePoint now);
  /// Leases and deadlines.
  void poll(TimePoint now);
  TimePoint next_timer() const;

  /// The view to be; equal to the last committed one if nothing changed.
  const ClusterView& draft() const { return draft_; }
  bool changed() const { return changed_; }
  /// The draft as it goes to the store, with its epoch; then, once it is stored, commit().
  StoredView stamped();
  /// `encoded_bytes`: of the view; joins and tables that would let it outgrow a frame are refused.
  void commit(std::size_t encoded_bytes);
  /// Answers whose view is committed.
  std::vector<Answer> take_answers();

  WorkerClock global_clock() const { return clocks_.global_clock(); }
  NodeId holder() const { return clocks_.holder(); }
  /// The clocks of `about`, or, if it is 0, of a worker that holds G back.
  Straggler straggler(NodeId about) const;
  bool in_roster(NodeId worker) const { return clocks_.contains(worker); }
  bool recovering() const { return !unreported_.empty(); }
  const std::unordered_map<NodeId, Vitals>& vitals() const { return vitals_; }
  std::vector<NodeId> suspects() const;
  std::string waiting_for() const;  ///< For people, while the cluster is not formed.

 private:
  struct PendingJoin {
    Asker asker = 0;
    Join join;
    TimePoint until{};
  };
  struct Opener {
    std::vector<Asker> askers;
    WorkerClock start, clock;  // its first, and where it stands
  };
  struct PendingOpen {  // a collective table that not everybody has opened yet
    TableSpec spec;
    std::map<NodeId, Opener> openers;
    TimePoint until{};
  };
  struct Arrival {
    std::uint64_t number = 0;
    Asker asker = 0;
    bool awaited = false;
  };
  struct PendingBarrier {
    std::unordered_set<NodeId> missing;  // of the roster at the first arrival
    std::map<NodeId, Arrival> arrived;
  };
  struct Deferred {  // a request that needs to know G, while recovering
    Asker asker = 0;
    std::function<void(TimePoint now)> go;
  };

  // membership.cc: joining, the view
  void answer(Answer answer) { answers_.push_back(std::move(answer)); }
  void done(Asker asker, TableId table = {}) { answer({asker, Errc::ok, {}, table, {}}); }
  void refuse(Asker asker, Errc code, std::string text);
  Epoch next_epoch() const;
  bool fits(std::size_t bytes_more) const;
  NodeInfo* find_node(NodeId node);
  const NodeInfo* find_incarnation(Role role, Incarnation incarnation) const;
  std::uint32_t count_servers() const;
  const NodeInfo& add_node(const Join& join, TimePoint now, std::optional<Rank> rank = {});
  bool has_room(Asker asker, const Join& join);
  void join_server(Asker asker, const Join& join, TimePoint now);
  void join_worker(Asker asker, const Join& join, TimePoint now);
  void admit_late(Asker asker, const Join& join, TimePoint now);
  void form_if_complete(TimePoint now);
  void admit_waiting(TimePoint now);
  Joined joined_of(const NodeInfo& node) const;

  // membership_liveness.cc: leaving, dying
  std::string remove_server(NodeId node);
  void watch_loop(const NodeInfo& node, std::uint64_t turns, TimePoint now);
  void drop_worker(NodeId node);
  void check_leases(TimePoint now);
  void check_stragglers();
  Duration lease_of(const NodeInfo& node) const;

  // membership_tables.cc: clocks, rules, tables
  bool defer(Asker asker, std::function<void(TimePoint now)> go);
  void resume(TimePoint now);
  void advance_clocks();
  WorkerClock local_clock(const RosterEntry& entry) const;
  void add_rules(NodeId server, const std::vector<RuleInfo>& rules);
  void remove_rules(NodeId server);
  Status servers_know_rule(const TableSpec& spec) const;
  Status knows_rules_of_tables(const Join& join) const;
  std::vector<NodeId> placement_of(const TableSpec& spec) const;
  TableId make_table(const TableSpec& spec, WorkerClock start);
  Status may_make(const TableSpec& spec);

  // membership_meetings.cc: collective tables, barriers
  void open_collective(Asker asker, NodeId opener, WorkerClock clock, const TableSpec& spec,
                       TimePoint now);
  Result<WorkerClock> common_clock(const PendingOpen& pending) const;
  void settle_opens();
  void refuse_all(const PendingOpen& pending, Errc code, const std::string& text);
  void settle_barriers();
  void leave_barriers(NodeId worker);
  bool take_back(Asker asker);
  bool take_back_open(Asker asker);
  bool take_back_arrival(Asker asker);
  std::string why_waiting(Asker asker) const;
  std::string missing_openers(const PendingOpen& pending) const;
  template <class F>
  std::string ranks_of(F&& is_one) const;
  void expire_opens(TimePoint now);

  Options options_;
  ClusterView committed_, draft_;
  bool changed_ = false;
  std::size_t view_bytes_ = 0;  ///< of the committed view, and a bound of what was added since
  std::uint32_t next_node_ = 1;
  std::uint32_t next_table_ = 1;
  ClockTable clocks_;                          ///< has exactly the roster
  WorkerClock clock_bound_;                    ///< stored: G is not told beyond it
  WorkerClock fastest_;                        ///< the highest local clock anybody told
  std::unordered_map<NodeId, Vitals> vitals_;  ///< has exactly the nodes
  TimePoint leases_at_ = kNever;               ///< no lease ends before
  std::vector<NodeId> unreported_;  ///< after a restart: workers that have not reported yet
  std::vector<ServerRules> rules_;  ///< has exactly the servers
  ServerMemory memory_;             ///< likewise
  Epoch sparse_from_;               ///< What servers said of it under older views counts no more.
  std::vector<PendingJoin> joins_;
  std::map<std::string, PendingOpen> opens_;
  std::deque<PendingBarrier> barriers_;               ///< in the order of their first arrivals
  std::unordered_map<NodeId, std::uint64_t> passed_;  ///< the last barrier each worker passed
  std::vector<Deferred> deferred_;
  std::vector<Answer> answers_, ready_;
};

}  // namespace shoal
