#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "core/cluster/messages.h"
#include "core/consistency/clock_table.h"
#include "server/view_store.h"

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
  /// Who asked: a number of the caller's, given back with the answer.
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
    std::uint64_t turns = 0;
    Tick tick;
  };

  /// `stored`: of an earlier scheduler of this cluster. Raises the term and gives everybody a fresh
  /// lease; `recovering()` until the roster has reported.
  Membership(const Options& options, const std::optional<StoredView>& stored, TimePoint now);

  // What happens. Answers come by take_answers(), when their view has been stored.
  void join(Asker asker, const Join& join, TimePoint now);
  void heard(NodeId node, Incarnation incarnation, std::uint64_t turns, TimePoint now);
  void tick(const Tick& tick, TimePoint now);
  void leave(Asker asker, NodeId node);
  void open_table(Asker asker, NodeId opener, TableSpec spec, TimePoint now);
  void drop_table(Asker asker, TableId table);
  void set_parameter(Asker asker, TableId table, const SetParameter& change);
  void barrier(Asker asker, const Barrier& barrier);
  /// The connection of an asker ended: nobody waits for its answers any more.
  void forget(Asker asker);
  /// A server's control connection closed.
  void suspect(NodeId node);
  /// Its port refuses connections, or another process has its place: its slots are lost.
  void lost(NodeId node);
  /// Leases and deadlines.
  void poll(TimePoint now);
  TimePoint next_timer() const;

  /// The view to be; equal to the last committed one if nothing changed.
  const ClusterView& draft() const { return draft_; }
  bool changed() const { return changed_; }
  /// The draft as it goes to the store, with its epoch; then, once it is stored, commit().
  StoredView stamped();
  void commit();
  /// Answers whose view is committed.
  std::vector<Answer> take_answers();

  WorkerClock global_clock() const { return clocks_.global_clock(); }
  NodeId holder() const { return clocks_.holder(); }
  bool recovering() const { return !unreported_.empty(); }
  const std::map<NodeId, Vitals>& vitals() const { return vitals_; }
  std::string waiting_for() const;  ///< For people, while the cluster is not formed.

 private:
  struct PendingJoin {
    Asker asker = 0;
    Join join;
    TimePoint until{};
  };
  struct PendingOpen {  // a collective table that not everybody has opened yet
    TableSpec spec;
    std::map<NodeId, Asker> openers;
    WorkerClock clock;
    TimePoint until{};
  };
  struct PendingBarrier {
    std::vector<NodeId> awaited;
    std::map<NodeId, Asker> arrived;
  };

  void answer(Answer answer) { answers_.push_back(std::move(answer)); }
  void refuse(Asker asker, Errc code, std::string text);
  NodeId add_node(const Join& join, TimePoint now);
  const NodeInfo* find_incarnation(Role role, Incarnation incarnation) const;
  void join_server(Asker asker, const Join& join, TimePoint now);
  void join_worker(Asker asker, const Join& join, TimePoint now);
  void admit_late(Asker asker, const Join& join, TimePoint now);
  void form_if_complete(TimePoint now);
  void admit_waiting(TimePoint now);
  Joined joined_of(const NodeInfo& node) const;
  void drop_worker(NodeId node);
  void make_table(const TableSpec& spec, std::span<const std::pair<NodeId, Asker>> askers);
  void open_collective(Asker asker, NodeId opener, const TableSpec& spec, TimePoint now);
  void settle_opens();
  void settle_barriers();
  WorkerClock local_clock(NodeId worker) const;
  void advance_clocks();
  void check_leases(TimePoint now);

  Options options_;
  ClusterView committed_, draft_;
  bool changed_ = false;
  std::uint32_t next_node_ = 1;
  std::uint32_t next_table_ = 1;
  ClockTable clocks_;
  std::map<NodeId, Vitals> vitals_;
  std::vector<NodeId> unreported_;  ///< after a restart: workers that have not reported yet
  std::vector<PendingJoin> joins_;
  std::map<std::string, PendingOpen> opens_;
  std::map<std::uint64_t, PendingBarrier> barriers_;  ///< by number
  std::map<NodeId, std::uint64_t> passed_;            ///< the last barrier each worker passed
  std::vector<Answer> answers_, ready_;
};

}  // namespace shoal
