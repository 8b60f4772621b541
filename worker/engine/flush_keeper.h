#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/ids.h"

namespace shoal {

/// What open flushes wait for. Pushes of a clock below a flush's own were all issued before it: it
/// waits until the worker may report its clock. Of those of its own clock the ones that were issued
/// before it are counted here.
class FlushKeeper {
 public:
  explicit FlushKeeper(std::uint32_t operations_max) { open_.reserve(operations_max); }

  /// Of a tick's empty parts: they are issued behind all else of their clock.
  static constexpr std::uint64_t kEndOfClock = ~std::uint64_t{0};

  /// The place of a push in the order in which pushes and flushes are issued.
  std::uint64_t next_place() { return ++places_; }

  /// `unended`: pushes of `clock`, the worker's, that have not ended.
  void open(std::uint32_t operation, WorkerClock clock, std::uint64_t unended) {
    open_.push_back({operation, clock, places_, unended});
  }
  void close(std::uint32_t operation) {
    std::erase_if(open_, [&](const Flush& flush) { return flush.operation == operation; });
  }
  void begin_push(WorkerClock clock, std::uint64_t place) {
    for (auto& flush : open_) flush.unended += flush.counts(clock, place) ? 1 : 0;
  }
  void end_push(WorkerClock clock, std::uint64_t place) {
    for (auto& flush : open_) flush.unended -= flush.counts(clock, place) ? 1 : 0;
  }

  struct Flush {
    std::uint32_t operation = 0;
    WorkerClock clock;
    std::uint64_t place = 0;    ///< of the last push before it
    std::uint64_t unended = 0;  ///< pushes of `clock` up to `place`

    bool counts(WorkerClock at, std::uint64_t issued) const {
      return at == clock && issued <= place;
    }
    /// Whether it waits for a push of this clock and place, if that has not ended.
    bool waits_for(WorkerClock at, std::uint64_t issued) const {
      return at < clock || counts(at, issued);
    }
  };
  const Flush& of(std::uint32_t operation) const {
    return *std::find_if(open_.begin(), open_.end(),
                         [&](const Flush& flush) { return flush.operation == operation; });
  }
  /// A flush that has nothing left to wait for.
  std::optional<std::uint32_t> settled(WorkerClock reported) const {
    for (const auto& flush : open_)
      if (flush.clock <= reported && flush.unended == 0) return flush.operation;
    return {};
  }

 private:
  std::uint64_t places_ = 0;
  std::vector<Flush> open_;
};

}  // namespace shoal
