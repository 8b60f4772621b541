#include "server/engine/sequence.h"

#include "core/base/assert.h"

namespace shoal {

PushSequence::Known PushSequence::classify(Sequence q) const {
  if (next_.value == 0) return Known::next;
  if (q > next_) return Known::gap;
  if (q == next_) return Known::next;
  if (q > last_) return Known::waiting;
  for (const auto& range : burnt_)
    if (q >= range.first && q <= range.last) return Known::burnt;
  return q < unclear_below_ ? Known::unclear : Known::applied;
}

void PushSequence::accept(Sequence q) {
  if (next_.value == 0) {
    next_ = q;
    last_ = q - 1;
  }
  SHOAL_ASSERT(q == next_, "a push was accepted out of order");
  ++next_;
}

void PushSequence::finish(Sequence q, bool burnt) {
  SHOAL_ASSERT(q == last_ + 1 && q < next_, "a push was applied out of order");
  last_ = q;
  if (!burnt) return;
  if (!burnt_.empty() && burnt_.back().last + 1 == q) {
    burnt_.back().last = q;
    return;
  }
  if (burnt_.size() == kBurntRangesMax) {
    unclear_below_ = burnt_.front().last + 1;
    burnt_.erase(burnt_.begin());
  }
  burnt_.push_back({q, q});
}

void PushSequence::fall_back(Sequence q) {
  SHOAL_ASSERT(q > last_ && q <= next_, "dropped what was not waiting");
  next_ = q;
}

void PushSequence::forget() {
  last_ = Sequence(0);
  next_ = Sequence(0);
  burnt_.clear();
}

}  // namespace shoal
