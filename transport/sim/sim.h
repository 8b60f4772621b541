#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/clock.h"
#include "core/base/ids.h"
#include "transport/transport.h"

// A network inside one thread, under one seed and one simulated clock: the same seed gives the same
// run, bit for bit. Its connections fail as TCP's do. See docs/design/simulation.md.

namespace shoal {

namespace sim {
class World;
}

/// A simulated machine with at most one process at a time.
using SimNodeId = StrongId<struct SimNodeTag, std::uint32_t>;

/// How long a message takes from one node to another.
struct SimLink {
  Duration delay_min = std::chrono::microseconds(5);
  Duration delay_max = std::chrono::microseconds(100);
  double straggle = 0.01;  ///< Chance that a piece takes up to `straggle_max` longer.
  Duration straggle_max = std::chrono::milliseconds(20);
};

struct SimOptions {
  std::uint64_t seed = 1;
  SimLink link{};
  /// Between something to report and the poll that reports it: a process has other work to do.
  Duration poll_delay_max = std::chrono::microseconds(20);
  Duration bulk_time_per_mib = std::chrono::microseconds(200);
  /// Posts on one lane of one endpoint that have not left; more is Errc::overloaded.
  std::uint32_t queue_max = 256;
  /// What one lane of one endpoint may have under way or unread, as socket buffers bound it.
  std::uint32_t window_pieces = 128;
  std::uint64_t window_bytes = 4u << 20;
  std::uint32_t reads_max = 256;     ///< unanswered reads of one endpoint
  std::uint32_t regions_max = 4096;  ///< of one process
  std::uint32_t endpoints_max = 8192;
  bool reads_by_copy = false;  ///< what Transport::reads_by_copy() says
  double reads_in_place = 0;   ///< how often read_in_place() can
  /// After how long a silent connection is given up: keepalive to 1.5 keepalive, each side for
  /// itself.
  Duration keepalive = std::chrono::seconds(2);
  /// Until a healed link carries what waited: TCP backs off.
  Duration retransmit_max = std::chrono::milliseconds(200);
  /// Until each side of a dropped connection learns of it.
  Duration drop_notice_max = std::chrono::milliseconds(50);
};

/// The simulated network, its clock and its faults. Everything happens inside step(); outlives its
/// transports. Belongs to one thread.
class SimNetwork {
 public:
  explicit SimNetwork(const SimOptions& options);
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  // --- Nodes and their processes.
  /// A machine that others reach as host `name`. It runs nothing yet; its ports refuse.
  SimNodeId create_node(std::string_view name);
  /// Starts a process on a node that runs none: its first, or a new one after crash() or after the
  /// old transport was destroyed. Peers that know another `token` are untrusted.
  std::unique_ptr<Transport> start(SimNodeId node, std::uint64_t token = 1);
  std::string_view name_of(SimNodeId node) const;
  bool alive(SimNodeId node) const;

  // --- Time.
  const Clock& clock() const;
  TimePoint now() const { return clock().now(); }
  /// kNever: nothing will happen any more.
  TimePoint next_event_time() const;
  /// Moves the clock to the next event and lets it happen. False: there is none.
  bool step();
  /// Steps through everything up to `until`, and sets the clock there.
  void run_until(TimePoint until);
  /// Calls `script` inside step() at `when`, at once if that has passed.
  void at(TimePoint when, std::function<void()> script);

  // --- Who has to be polled (SimDriver does it for Pollables).
  /// True if poll() of the node's transport would report something.
  bool has_events(SimNodeId node) const;
  /// The next living node whose turn has come, because of traffic, wake() or its timer.
  std::optional<SimNodeId> next_ready();
  /// Gives the node a turn soon, as after a call from outside.
  void wake(SimNodeId node);
  /// Gives the node a turn at `when`. There is one timer a node: the last call counts.
  void set_timer(SimNodeId node, TimePoint when);

  // --- Faults.
  /// kill -9: the process is gone, its transport is dead (every call fails, nothing is reported,
  /// its memory is not touched any more). Peers see their connections close, each in its own time,
  /// and its ports refuse. `silent`: the machine loses power: nobody is told, until keepalive or
  /// start().
  void crash(SimNodeId node, bool silent = false);
  /// SIGSTOP and SIGCONT: while stopped, nothing lands in or leaves the process, and it gets no
  /// turn.
  void stop(SimNodeId node);
  void resume(SimNodeId node);
  bool stopped(SimNodeId node) const;
  /// Nothing passes from `from` to `to` until heal(). What was under way waits; connections that
  /// stay silent for `keepalive` end, each side for itself.
  void cut(SimNodeId from, SimNodeId to);
  void partition(SimNodeId a, SimNodeId b);
  /// Cuts the node off from everybody.
  void isolate(SimNodeId node);
  void heal(SimNodeId a, SimNodeId b);
  void heal_all();
  /// Every connection between the two breaks: what is under way is lost, each side learns in its
  /// own time.
  void drop_connections(SimNodeId a, SimNodeId b);
  /// Multiplies every delay of the node, turns included.
  void slow(SimNodeId node, double factor);
  void set_link(SimNodeId from, SimNodeId to, const SimLink& link);

  // --- What a test can ask.
  /// For scripts: draws from the run's own seed.
  std::uint64_t random(std::uint64_t bound);
  /// Of everything that happened so far: equal runs have equal hashes.
  std::uint64_t trace_hash() const;
  std::uint64_t events_handled() const;
  std::size_t connections() const;
  /// From now on no byte may move into or out of `memory`: its loan has ended. Broken:
  /// violations().
  void protect(ConstMemoryView memory);
  /// Ends protect() of the range that begins at `memory.data`: it is lent anew, or freed.
  void unprotect(ConstMemoryView memory);
  /// Sentences, at most the first few. Empty: every loan was honoured.
  std::span<const std::string> violations() const;

 private:
  std::unique_ptr<sim::World> world_;
};

}  // namespace shoal
