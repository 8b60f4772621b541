#pragma once

#include <cstddef>

#include "core/base/clock.h"
#include "server/engine/ops.h"
#include "server/engine/pool.h"
#include "server/store/memory.h"

namespace shoal {

/// The memory that READ bytes land in, and who keeps it waiting: a peer answers READs only while it
/// runs, and a worker that is driven by its caller may compute for minutes. So a peer that has
/// READs under way gets more memory only while as much as it would then hold is left, and one that
/// has none gets any that is free: n peers that do not answer leave 1/(n + 1) to the others
/// (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
/// 1998). Once they are so many that nothing is left, `stalled` names them, the longest silent
/// first. Belongs to the server's loop.
class Landing {
 public:
  Landing(Arena memory, Duration stall) : memory_(std::move(memory)), stall_(stall) {}

  /// Memory for a READ from this peer, or nullptr: there is none, or none for it now.
  std::byte* take(const Peer& peer, std::size_t bytes);
  Arena& memory() { return memory_; }

  /// READs into `bytes` of it were posted.
  void posted(Peer& peer, std::size_t bytes, TimePoint now);
  /// One of a peer's READs has ended, and with it all those into `bytes` of the memory.
  void ended(Peer& peer, std::size_t bytes, TimePoint now);
  /// The peer's connection has ended: its READs do soon.
  void forget(Peer& peer) { readers_.erase_if_linked(&peer); }

  /// Whoever finds no memory from now on says so again.
  void begin_turn() { short_ = false; }
  /// While a peer without READs under way finds no memory: the one that has some and of whose READs
  /// none has ended for longest, if that is `stall` ago. Or null.
  Peer* stalled(TimePoint now) const;
  /// When that will be, if nothing moves until then.
  TimePoint stalls_at() const;

 private:
  Arena memory_;
  Duration stall_;
  List<Peer, &Peer::landing> readers_;  ///< with READs under way, the longest silent first
  bool short_ = false;
};

}  // namespace shoal
