#pragma once

#include <cstdint>

namespace shoal {

/// What a server has counted since it started: for heartbeats, `shoal status` and tests. Belongs to
/// the server's loop.
struct ServerMetrics {
  std::uint64_t pushes = 0;  ///< requests
  std::uint64_t pulls = 0;   ///< requests
  std::uint64_t parts_applied = 0;
  std::uint64_t parts_burnt = 0;
  std::uint64_t parts_repeated = 0;  ///< answered without being applied again
  std::uint64_t gaps = 0;
  std::uint64_t rows_applied = 0;
  std::uint64_t rows_pulled = 0;
  std::uint64_t bytes_in = 0;   ///< values and keys: eager, READ, or read in place
  std::uint64_t bytes_out = 0;  ///< values
  std::uint64_t reads = 0;      ///< posted
  std::uint64_t writes = 0;     ///< posted
  std::uint64_t parked = 0;     ///< requests whose credit was given back early
  std::uint64_t held = 0;       ///< requests that waited for a newer view or the scheduler
  std::uint64_t folds = 0;      ///< segments (dense) or slots (sparse) times clocks
  std::uint64_t copies_on_write = 0;
  std::uint64_t copies_exhausted = 0;  ///< a push found no free copy
  /// Sessions closed because their WRITEs or READs held memory that others waited for.
  std::uint64_t sends_given_up = 0;
  std::uint64_t reads_given_up = 0;
  std::uint64_t overloaded = 0;
  std::uint64_t stale_views = 0;
  std::uint64_t fenced = 0;
  std::uint64_t timed_out = 0;  ///< parked pulls past their deadline
  std::uint64_t malformed = 0;  ///< requests that no correct worker sends
};

}  // namespace shoal
