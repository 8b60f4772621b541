#pragma once

#include <cstdint>
#include <vector>

#include "core/base/ids.h"

namespace shoal {

/// The exactly-once rule of one (worker, slot), on the head's side: docs/design/protocol.md,
/// "Push". `last` belongs to the slot's state and moves with it; `next` is of this server. The
/// sequence numbers that took no data (burnt) are remembered in a few ranges, so that a repeated
/// request hears what happened and not merely that its number was taken.
class PushSequence {
 public:
  enum class Known : std::uint8_t {
    next,     ///< To be accepted now.
    waiting,  ///< Accepted; the newer copy takes its place.
    applied,  ///< Acknowledge again.
    burnt,    ///< Its number was taken without data.
    unclear,  ///< Taken so long ago that it is not known with or without data.
    gap,      ///< Ahead of one that was not accepted.
  };
  static constexpr std::size_t kBurntRangesMax = 64;

  /// The last one applied (or burnt). 0: none.
  Sequence last() const { return last_; }
  /// The first one not accepted.
  Sequence next() const { return next_; }

  Known classify(Sequence q) const;
  void accept(Sequence q);
  /// q = last + 1 is done.
  void finish(Sequence q, bool burnt);
  /// Accepted ones from q on were dropped.
  void fall_back(Sequence q);

  /// Test only (ServerFaults::forget_last): the next number that comes is taken for the next one.
  void forget();

 private:
  struct Range {
    Sequence first;
    Sequence last;
  };
  Sequence last_;
  Sequence next_{1};
  std::vector<Range> burnt_;  ///< ascending, apart
  Sequence unclear_below_;    ///< ranges below were forgotten
};

}  // namespace shoal
