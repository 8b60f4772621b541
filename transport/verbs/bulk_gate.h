#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "transport/links.h"
#include "transport/ring.h"
#include "transport/verbs/cards.h"

namespace shoal::verbs {

/// Keeps the bulk lane's promise over several strands: a frame, which travels on the home strand,
/// is not seen before the WRITEs that were posted ahead of it on others. Behind these their sender
/// puts a token on each such strand, and names the strands with the frame; here the frame waits
/// until a token of each has come. Tokens and frames of a strand are counted, since each is in
/// order. See docs/design/verbs.md, "Strands".
class BulkGate {
 public:
  using Strands = std::uint32_t;  ///< a bit for each; never that of the home

  struct Held {
    Strands awaits = 0;
    std::unique_ptr<Assembly> assembly;  ///< what `frame` points into
    FrameView frame;
  };

  void token(std::size_t strand) { ++tokens_[strand]; }
  /// True: a frame that has just come may be seen, and its tokens are spent.
  bool passes(Strands awaits) { return held_.empty() && spend(awaits); }
  /// A frame that may not, behind those that wait already.
  void hold(Held held) {
    held_bytes_ += held.assembly->bytes.size();
    held_.push_back(std::move(held));
  }
  bool empty() const { return held_.empty(); }
  /// What waits has memory; a peer that forgets its tokens gets no more than this.
  std::size_t held_bytes() const { return held_bytes_; }
  /// Whether next() has something.
  bool open() { return !held_.empty() && has(held_.front().awaits); }
  /// The first that waits, if it may be seen now; its assembly is null if not.
  Held next() {
    if (!open()) return {};
    spend(held_.front().awaits);
    auto held = std::move(held_.front());
    held_.pop_front();
    held_bytes_ -= held.assembly->bytes.size();
    return held;
  }

 private:
  bool has(Strands awaits) const {
    for (std::size_t strand = 1; strand < kStrandsMax; ++strand)
      if ((awaits >> strand & 1) != 0 && tokens_[strand] == 0) return false;
    return true;
  }
  bool spend(Strands awaits) {
    if (!has(awaits)) return false;
    for (std::size_t strand = 1; strand < kStrandsMax; ++strand)
      tokens_[strand] -= awaits >> strand & 1;
    return true;
  }

  std::array<std::uint64_t, kStrandsMax> tokens_{};  ///< come, and not spent
  Ring<Held> held_;
  std::size_t held_bytes_ = 0;
};

}  // namespace shoal::verbs
