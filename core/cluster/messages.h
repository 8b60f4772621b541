#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/cluster/cluster_view.h"
#include "core/table/rule_info.h"

// What nodes and the scheduler tell each other: the meta of control frames. Each message has an
// encode(Writer&, const M&) and a decode<M>(bytes). See docs/design/wire_format.md.

namespace shoal {

/// FrameKind::hello: the first frame of every session, from the side that connected.
struct Hello {
  NodeId node;              ///< Who connects; 0 before it has joined.
  Incarnation incarnation;  ///< Of who connects.
  Role role = Role::worker;
  NodeId expected;  ///< Whom it means to reach; 0: whoever is there (the scheduler).
  Incarnation expected_incarnation;
};

/// FrameKind::welcome; header.status says ok, or why not (peer_lost: another process answers at
/// this address now; version; refused).
struct Welcome {
  NodeId node;
  Incarnation incarnation;
  std::uint32_t credits = 0;       ///< How many requests may be unanswered at once.
  std::uint32_t parked_quota = 0;  ///< How many of them the server will park beside.
};

/// FrameKind::join -> answer with Joined, once the roster is formed (workers) or at once (servers,
/// observers). A join of a known incarnation is answered with the same id: it may be repeated.
struct Join {
  Role role = Role::worker;
  Incarnation incarnation;
  std::string name;
  std::string address;  ///< Where it listens; workers: empty.
  /// Servers: the update rules that they know, at most kRulesMax. Others: none.
  std::vector<RuleInfo> rules = {};
  std::uint64_t memory_bytes = 0;  ///< Servers: what tables may take, copies on write apart.
};
struct Joined {
  NodeId node;
  Rank rank;          ///< Workers.
  WorkerClock start;  ///< Workers: the first clock.
  Duration lease{0};  ///< Silence longer than this makes the node suspect.
  Duration beat{0};   ///< How often to send heartbeats.
  // followed by the full view
};
/// Where the view begins in the answer to a join.
inline constexpr std::size_t kJoinedBytes = 32;

/// FrameKind::heartbeat, on a connection of its own; answered with an empty answer whose
/// header.epoch is the scheduler's.
struct Heartbeat {
  NodeId node;
  Incarnation incarnation;
  std::uint64_t turns = 0;  ///< The main loop's turns: tells a hung loop from a live process.
};

/// FrameKind::tick, one way, newest wins: every push of the worker from clocks below `reported` has
/// ended. Also carries what `shoal status` shows of a worker; a server sends it for that alone,
/// once a beat, with clocks 0.
struct Tick {
  NodeId node;
  WorkerClock reported;
  WorkerClock local;
  std::uint64_t bytes_pushed = 0;  ///< since the process began, as are all four counts
  std::uint64_t bytes_pulled = 0;
  std::uint64_t pushes = 0;  ///< requests
  std::uint64_t pulls = 0;
  std::uint64_t parked = 0;        ///< requests that wait now
  std::uint64_t sparse_bytes = 0;  ///< of a server's memory_budget: what its sparse tables hold now
};

/// FrameKind::global_clock, one way, newest wins; header.epoch is the view it was computed under
/// and header.clock is G.
struct GlobalClock {
  NodeId holder;  ///< A worker that holds G back.
  std::uint32_t roster = 0;
};

/// FrameKind::straggler: asked by a worker whose pull came to its deadline, with `worker` alone ->
/// answer with all of it; header.clock is G. For messages to people.
struct Straggler {
  NodeId worker;         ///< Asked: about whom; 0: one that holds G back. Answered: who; 0: nobody.
  WorkerClock reported;  ///< All its pushes from clocks below have ended.
  WorkerClock local;     ///< Where it stands.
  std::uint32_t others = 0;  ///< Workers that hold G back beside it; 0 of one that was asked about.
};

/// FrameKind::open_table: meta is a TableSpec, header.clock the opener's local clock -> answer with
/// the TableId in header.table, after the view that has it was sent on the same connection.
/// FrameKind::drop_table: header.table.
/// FrameKind::get_view: header.epoch is the view that the asker has -> answer whose meta is a newer
/// view (frame_flag::kDelta: a delta from the asker's; none: there is no newer one).
/// FrameKind::status: answered with a JSON text as payload.
/// A refused request's answer has the Errc in header.status and a sentence for people as payload.

/// FrameKind::set_parameter, header.table.
struct SetParameter {
  std::string name;
  double value = 0;
  WorkerClock from_clock;  ///< -1: as soon as it can be
};

/// FrameKind::barrier: answered when all of the roster at its first arrival have arrived or left.
struct Barrier {
  NodeId node;
  std::uint64_t number = 0;  ///< Counted by each worker from 1 in the order of sending; a repeat
                             ///< has the same number.
};

/// FrameKind::leave: this worker's pushes have all ended; or a server that is shut down.
struct Leave {
  NodeId node;
};

/// FrameKind::report_lost: `node`'s port refused a connection. The scheduler tries for itself.
struct ReportLost {
  NodeId node;
  Incarnation incarnation;
};

/// The largest encoding of any of them, Join apart: for buffers on the stack.
inline constexpr std::size_t kSmallMessageBytesMax = 96;

void encode(Writer& out, const Hello& m);
void encode(Writer& out, const Welcome& m);
void encode(Writer& out, const Join& m);
void encode(Writer& out, const Joined& m);
void encode(Writer& out, const Heartbeat& m);
void encode(Writer& out, const Tick& m);
void encode(Writer& out, const GlobalClock& m);
void encode(Writer& out, const Straggler& m);
void encode(Writer& out, const SetParameter& m);
void encode(Writer& out, const Barrier& m);
void encode(Writer& out, const Leave& m);
void encode(Writer& out, const ReportLost& m);

/// Reads an M that is all of `bytes` (`Joined`: their beginning; the view is the rest).
/// Errc::protocol for anything that no encode makes. M is one of the above.
template <class M>
Result<M> decode(std::span<const std::byte> bytes);

}  // namespace shoal
