#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "core/base/clock.h"

namespace shoal::sim {

/// A run begins here, not at 0, so that 'never heard from' (TimePoint{}) is distinguishable.
inline constexpr TimePoint kStart{std::chrono::seconds(1)};
/// Bulk operations beyond this move in pieces, at different times: large enough to hold a row,
/// small enough that the little segments of simulated clusters are torn by whoever breaks the
/// rules.
inline constexpr std::size_t kPieceMin = 16;
/// No piece is larger: 8 MiB then takes some 64 pieces, enough to be interrupted anywhere.
inline constexpr std::size_t kPieceMax = 256u << 10;
/// Lent memory leaves up to this long after the post, so that whoever reuses it early is seen.
inline constexpr Duration kDepartMax = std::chrono::microseconds(5);
/// Now and then a piece leaves this much later than the one before it, so that memory can change in
/// between: the chance, and how long.
inline constexpr double kGapChance = 0.125;
inline constexpr Duration kGapMax = std::chrono::microseconds(200);
/// A peer that does not answer a connect is asked again, as TCP repeats its SYN. Far shorter than
/// TCP's second, so that runs of simulated milliseconds see it.
inline constexpr Duration kConnectRetry = std::chrono::milliseconds(20);
/// First port given for 'any'.
inline constexpr std::uint16_t kFirstPort = 20000;
/// A run with a broken rule breaks it often; the first few say all.
inline constexpr std::size_t kViolationsMax = 16;

}  // namespace shoal::sim
