#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/clock.h"
#include "core/cluster/cluster_view.h"
#include "core/table/geometry.h"

namespace shoal {

/// Everything that a server bounds. What it may use is
///
///   memory_bytes                              tables: rows, states, sums, indices, the copies on
///                                             write (copies_max x 256 KiB of it), and what tables
///                                             of the past left behind
/// + memory_bytes of the host's    if rows are on a GPU: indices of sparse rows, sums' own lists
/// + segments x 300 B, sizes of segments x 2 MiB     their heads, and the rest of a huge page
/// + landing_bytes + waiting_bytes + gather_bytes    fixed when the server is made
/// + lists_bytes                             key lists that are repeated
/// + pushes_max x 300 B + pulls_max x 400 B
/// + parts_max x 120 B + writes_max x 80 B   at most 15 MB: grown to what was needed at once
/// + the sessions' and the transport's own limits.
struct ServerLimits {
  std::uint64_t memory_bytes = std::uint64_t{8} << 30;

  /// Rows on their way in. 8 READs of 256 KiB keep a fast link busy; the cache holds them.
  std::size_t landing_bytes = std::size_t{32} << 20;
  /// Eager payloads of parts that have to wait, and requests held for a newer view. Full:
  /// overloaded.
  std::size_t waiting_bytes = std::size_t{32} << 20;
  /// Gathered rows on their way out.
  std::size_t gather_bytes = std::size_t{32} << 20;
  /// Positions of key lists that workers repeat: 4 bytes a key and 256 a list, taken as they come.
  std::size_t lists_bytes = std::size_t{64} << 20;
  /// Segments that may be written while their old bytes are still being sent.
  std::uint32_t copies_max = 64;

  /// Requests that are not answered, and parts of pushes that wait for their bytes or their time.
  /// Parts that are ahead of other workers get half of the places, so that those can catch up.
  std::uint32_t pushes_max = 16384;
  std::uint32_t parts_max = 65536;
  std::uint32_t pulls_max = 16384;
  std::uint32_t writes_max = 16384;
  std::uint32_t held_max = 4096;  ///< requests that wait for a newer view

  std::uint32_t reads_per_peer = 8;  ///< parts being READ from one worker at a time, however large
  /// Where the server copies them itself (Transport::reads_by_copy): what has landed is still in
  /// the core's cache when it is applied.
  std::uint32_t copies_per_peer = 2;
  /// So many while they are small: the parts of a step's push to a server come with one system
  /// call.
  std::uint32_t small_reads_per_peer = 64;
  /// While all of them together have less, without the keys of small pulls.
  std::size_t small_reads_bytes = std::size_t{256} << 10;
  std::uint32_t pins_per_peer = 32;  ///< WRITEs to one worker at a time
  std::uint32_t credits = 64;        ///< requests of one peer that may be unanswered and not parked
  std::uint32_t parked_quota = 256;  ///< parked requests of one peer
  std::uint32_t peers_max = kNodesMax;
  /// Of the loop: between two of these the transport is polled again, so that a small request waits
  /// for no more than a turn's work (TurnWork).
  std::uint32_t events_per_turn = 32;

  /// While others wait for the memory that it holds (a copy, gathered rows, landing memory): a peer
  /// of whose WRITEs, or READs, none has ended for this long loses its session.
  Duration stall = std::chrono::seconds(1);

  /// The largest part that there is: keys and values of one rule with kInputsMax inputs.
  static constexpr std::size_t kPartBytesMax = kSegmentBytes * (kInputsMax + 8);
};

/// Deliberate mistakes, for the proof that the simulation's search finds them. Reachable from tests
/// only: no configuration sets them.
struct ServerFaults {
  bool forget_last = false;  ///< When a connection ends, the worker's sequences are forgotten.
};

}  // namespace shoal
