#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transport/endpoint_map.h"
#include "transport/frames.h"
#include "transport/transport.h"

// The books that every fabric keeps of its links. Private to transport/.

namespace shoal {

/// The events of one poll.
struct PollOutput {
  std::span<Event> events;
  std::size_t count = 0;

  std::size_t room() const { return events.size() - count; }
  void put(const Event& event) { events[count++] = event; }
};

inline Event message_event(EndpointId endpoint, const FrameView& frame) {
  return {.kind = Event::Kind::message,
          .status = Errc::ok,
          .endpoint = endpoint,
          .context = 0,
          .frame = frame};
}
inline Event closed_event(EndpointId endpoint, Errc why) {
  return {
      .kind = Event::Kind::closed, .status = why, .endpoint = endpoint, .context = 0, .frame = {}};
}
/// Of a send, read or write that has ended.
inline Event ended_event(EndpointId endpoint, Event::Kind kind, std::uint64_t context,
                         Errc status) {
  return {.kind = kind, .status = status, .endpoint = endpoint, .context = context, .frame = {}};
}

inline Error unknown_link() { return {Errc::closed, "the connection is closed, or not up yet"}; }

/// Memory in which a frame is put together that came in pieces; kept for the next.
struct Assembly {
  std::vector<std::byte> bytes;
  std::size_t have = 0;
};

/// Links by endpoint. A link says by `ready`, `closing` and `lost` how far it is.
template <class Link>
class LinkMap {
 public:
  Link* find(EndpointId endpoint) const {
    auto* const* found = links_.find(endpoint);
    return found != nullptr ? *found : nullptr;
  }
  /// null unless it can be sent on.
  Link* find_usable(EndpointId endpoint) const {
    auto* link = find(endpoint);
    const bool usable = link != nullptr && link->ready && !link->closing && link->lost == Errc::ok;
    return usable ? link : nullptr;
  }
  void add(Link& link) { links_[link.id] = &link; }
  void remove(const Link& link) { links_.erase(link.id); }
  bool empty() const { return links_.empty(); }

 private:
  EndpointMap<Link*> links_;
};

}  // namespace shoal
