#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/cluster/messages.h"
#include "core/wire/codec.h"
#include "transport/transport.h"

// What the two sides of a session share. Private to transport/.

namespace shoal::session {

/// Up to kPayloadViewsMax views, remembered by value: the bytes stay where they are.
struct PayloadViews {
  std::array<ConstMemoryView, Transport::kPayloadViewsMax> views{};
  std::uint8_t count = 0;

  /// The caller has checked the count.
  void assign(std::span<const ConstMemoryView> from) {
    count = static_cast<std::uint8_t>(from.size());
    std::copy(from.begin(), from.end(), views.begin());
  }
  std::span<const ConstMemoryView> span() const { return std::span(views).first(count); }
};

inline std::uint64_t bytes_of(std::span<const ConstMemoryView> views) {
  std::uint64_t sum = 0;
  for (const auto& view : views) sum += view.bytes;
  return sum;
}

/// Sends hello or welcome: a frame whose meta is the small message `m`.
template <class M>
Status send_greeting(Transport& transport, EndpointId to, FrameHeader header, const M& m) {
  std::array<std::byte, 64> buffer;
  Writer out(buffer);
  encode(out, m);
  SHOAL_ASSERT(out.ok(), "a greeting is larger than its buffer");
  return transport.send(to, header, out.written(), {}, {});
}

/// The sentence for people after "not connected: ".
const char* reason(Errc status) noexcept;

}  // namespace shoal::session
