#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace shoal {

/// Why rows of a one-sided pull were asked for with a request instead.
enum class Fallback : std::uint8_t {
  none,
  not_eligible,  ///< of the table or the call: key lists, bounded staleness, ...
  no_path,       ///< the path to the server has no READs that its CPU has no part in
  no_directory,  ///< where the segments lie is not known yet
  own_push,      ///< a push of this worker to the slot has not ended
  busy,          ///< too many one-sided pulls are under way
  not_there,     ///< rows that nobody has used yet, or memory that is not exported
  changing,      ///< pushes changed a segment at every try
  broken,        ///< a READ failed
};
inline constexpr std::size_t kFallbacks = 9;

/// What became of the one-sided pulls that were wished for. A pull falls apart into shares, one or
/// more for each server that has rows of it; each share counts once. Approximate while pulls run.
struct OneSidedCounts {
  std::uint64_t reads = 0;    ///< shares that were READ, all rows of them
  std::uint64_t retries = 0;  ///< segments that were READ once more, as a push had changed them
  /// Shares that became a request, in whole or in part, by the first reason: indexed by Fallback.
  std::array<std::uint64_t, kFallbacks> fallbacks{};

  std::uint64_t fell_back() const {
    std::uint64_t sum = 0;
    for (const auto count : fallbacks) sum += count;
    return sum;
  }
  std::uint64_t fell_back(Fallback why) const { return fallbacks[static_cast<std::size_t>(why)]; }
};

}  // namespace shoal
