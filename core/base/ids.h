#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace shoal {

/// An integer with a meaning: ids of different things do not mix, compare or convert. `Tag` is
/// never defined. The layout is that of `Rep`, so that a strong id can stand in a wire struct.
template <class Tag, class Rep>
struct StrongId {
  using rep = Rep;
  Rep value = 0;

  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep v) : value(v) {}
  friend constexpr auto operator<=>(StrongId, StrongId) = default;
};

/// The same for counters that are added to and subtracted from.
template <class Tag, class Rep>
struct StrongCount : StrongId<Tag, Rep> {
  using StrongId<Tag, Rep>::StrongId;
  friend constexpr auto operator<=>(StrongCount, StrongCount) = default;
  constexpr StrongCount& operator++() {
    ++this->value;
    return *this;
  }
  friend constexpr StrongCount operator+(StrongCount a, Rep n) {
    return StrongCount(static_cast<Rep>(a.value + n));
  }
  friend constexpr StrongCount operator-(StrongCount a, Rep n) {
    return StrongCount(static_cast<Rep>(a.value - n));
  }
  friend constexpr Rep operator-(StrongCount a, StrongCount b) {
    return static_cast<Rep>(a.value - b.value);
  }
};

/// A process in the cluster, given by the scheduler at join and never reused. 0 is nobody.
using NodeId = StrongId<struct NodeIdTag, std::uint32_t>;
/// One start of a process: a random number that it draws once. Tells a reconnect from a restart.
using Incarnation = StrongId<struct IncarnationTag, std::uint64_t>;
/// A table, given by the scheduler and never reused. 0 is none.
using TableId = StrongId<struct TableIdTag, std::uint32_t>;
/// A request on a session, increasing from 1. 0 is 'no answer expected'.
using RequestId = StrongId<struct RequestIdTag, std::uint64_t>;
/// A worker's place in the roster: 0..n-1, lowest free first.
using Rank = StrongId<struct RankTag, std::uint32_t>;
/// A share of one table: the unit of placement. See docs/design/protocol.md.
using SlotIndex = StrongId<struct SlotIndexTag, std::uint32_t>;
/// A run of dense rows, counted over the table, or a page of sparse rows in its slot.
using SegmentIndex = StrongId<struct SegmentIndexTag, std::uint32_t>;
/// The number of a push part in its (worker, slot): 1, 2, 3, ... 0 is 'none yet'.
using Sequence = StrongCount<struct SequenceTag, std::uint64_t>;
/// A worker's count of finished iterations; also the global clock G and the versions of segments.
using WorkerClock = StrongCount<struct WorkerClockTag, std::int64_t>;
/// A sparse row's name. Every 64-bit value is legal.
using Key = std::uint64_t;
/// A dense row's index.
using Row = std::uint64_t;

/// Which view: the scheduler's term (raised by each restart) and the number of the change. Ordered
/// by term first. Fits a 64-bit header field.
struct Epoch {
  std::uint32_t term = 0;
  std::uint32_t number = 0;

  friend constexpr auto operator<=>(Epoch, Epoch) = default;
  constexpr std::uint64_t packed() const { return (std::uint64_t{term} << 32) | number; }
  static constexpr Epoch unpacked(std::uint64_t bits) {
    return {static_cast<std::uint32_t>(bits >> 32), static_cast<std::uint32_t>(bits)};
  }
};

}  // namespace shoal

template <class Tag, class Rep>
struct std::hash<shoal::StrongId<Tag, Rep>> {
  std::size_t operator()(shoal::StrongId<Tag, Rep> id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
template <class Tag, class Rep>
struct std::hash<shoal::StrongCount<Tag, Rep>> {
  std::size_t operator()(shoal::StrongCount<Tag, Rep> id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
