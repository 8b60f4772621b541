#include "server/engine/held_requests.h"

#include <algorithm>
#include <cstring>

namespace shoal {

bool HeldRequests::hold(Peer& peer, const FrameView& frame) {
  if (requests_.size() >= plane_.limits.held_max) return false;
  Request request{
      &peer, frame.header, nullptr, frame.meta.size(), frame.payload.size(), plane_.trace.received};
  request.bytes = plane_.waiting.take(request.padded() + request.payload_bytes);
  if (request.bytes == nullptr) return false;
  std::memcpy(request.bytes, frame.meta.data(), frame.meta.size());
  if (!frame.payload.empty())
    std::memcpy(request.bytes + request.padded(), frame.payload.data(), frame.payload.size());
  requests_.push_back(request);
  ++peer.held;
  ++plane_.metrics.held;
  return true;
}

bool HeldRequests::cancel(const Peer& peer, RequestId id) {
  const auto at = std::find_if(requests_.begin(), requests_.end(), [&](const Request& r) {
    return r.peer == &peer && r.header.request == id && r.header.kind == FrameKind::pull;
  });
  if (at == requests_.end()) return false;
  --at->peer->held;
  give_back(*at);
  requests_.erase(at);
  return true;
}

void HeldRequests::drop(const Peer& peer) {
  std::erase_if(requests_, [&](const Request& request) {
    if (request.peer != &peer) return false;
    --request.peer->held;
    give_back(request);
    return true;
  });
}

}  // namespace shoal
