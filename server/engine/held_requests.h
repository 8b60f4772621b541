#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "server/engine/plane.h"

namespace shoal {

/// Requests that came with a newer view than ours, in the order in which they came, until that view
/// is here (docs/design/protocol.md, "Views"). What a peer sends after a held one is held behind
/// it, so that its order stays. Bounded in number and bytes. Belongs to the server's loop.
class HeldRequests {
 public:
  explicit HeldRequests(Plane& plane) : plane_(plane) {}

  /// Copies the frame. False: no room.
  bool hold(Peer& peer, const FrameView& frame);
  /// Calls f(Peer&, FrameView) for those that our view is new enough for, or for `all`, and forgets
  /// them.
  template <class F>
  void release(F&& f, bool all = false) {
    // A request that is still too new keeps its place, and so do those of its peer behind it.
    std::vector<const Peer*> stuck;
    for (std::size_t left = requests_.size(); left > 0 && !requests_.empty(); --left) {
      auto request = requests_.front();
      requests_.pop_front();
      const bool behind = std::find(stuck.begin(), stuck.end(), request.peer) != stuck.end();
      if (!request.peer->gone &&
          (behind || (!all && Epoch::unpacked(request.header.epoch) > plane_.view->epoch))) {
        if (!behind) stuck.push_back(request.peer);
        requests_.push_back(request);
        continue;
      }
      --request.peer->held;
      plane_.trace.received = request.received;
      if (!request.peer->gone) f(*request.peer, request.frame());
      give_back(request);
    }
  }
  /// The asker of a held pull lets go. True: it was held.
  bool cancel(const Peer& peer, RequestId request);
  void drop(const Peer& peer);
  bool empty() const { return requests_.empty(); }

 private:
  struct Request {
    Peer* peer = nullptr;
    FrameHeader header;
    std::byte* bytes = nullptr;  ///< meta, padded to 8, then payload
    std::size_t meta_bytes = 0;
    std::size_t payload_bytes = 0;
    TimePoint received{};

    std::size_t padded() const { return (meta_bytes + 7) / 8 * 8; }
    FrameView frame() const {
      return {header, {bytes, meta_bytes}, {bytes + padded(), payload_bytes}};
    }
  };
  void give_back(const Request& request) {
    plane_.waiting.give(request.bytes, request.padded() + request.payload_bytes);
  }
  Plane& plane_;
  std::deque<Request> requests_;
};

}  // namespace shoal
