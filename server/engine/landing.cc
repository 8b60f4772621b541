#include "server/engine/landing.h"

namespace shoal {

std::byte* Landing::take(const Peer& peer, std::size_t bytes) {
  const auto left = memory_.capacity() - memory_.used();
  if (peer.landing_bytes != 0 && (bytes > left || peer.landing_bytes + bytes > left - bytes))
    return nullptr;
  auto* memory = memory_.take(bytes);
  if (memory == nullptr && peer.landing_bytes == 0) short_ = true;
  return memory;
}

void Landing::posted(Peer& peer, std::size_t bytes, TimePoint now) {
  if (peer.landing_bytes == 0) {
    peer.landed_last = now;
    readers_.push_back(&peer);
  }
  peer.landing_bytes += bytes;
}

void Landing::ended(Peer& peer, std::size_t bytes, TimePoint now) {
  peer.landing_bytes -= bytes;
  peer.landed_last = now;
  if (!readers_.contains(&peer)) return;
  readers_.erase(&peer);
  if (peer.landing_bytes != 0) readers_.push_back(&peer);
}

Peer* Landing::stalled(TimePoint now) const {
  return now >= stalls_at() ? readers_.front() : nullptr;
}

TimePoint Landing::stalls_at() const {
  if (!short_ || readers_.empty()) return kNever;
  return deadline_after(readers_.front()->landed_last, stall_);
}

}  // namespace shoal
