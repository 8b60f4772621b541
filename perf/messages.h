#pragma once

#include <cstdint>
#include <string>

#include "core/base/result.h"
#include "core/wire/codec.h"
#include "perf/workload.h"
#include "transport/transport.h"

// What the two processes of `shoal perf` say to each other: frames of kind `call` straight over a
// transport, with a verb in the header's flags. `request` is an operation's number, `credits` how
// many operations an answer ends.

namespace shoal::perf {

enum class Verb : std::uint16_t {
  begin = 1,  ///< client: a Begin; the peer takes memory and answers `ready` with a Ready
  ready,
  message,  ///< client: an operation of `send`, with its payload
  written,  ///< client, bulk lane: an operation's WRITE is behind it
  fetch,    ///< client: READ my memory too
  answer,   ///< peer: operations have ended
  check,    ///< client: how many operations brought wrong bytes? Answered by `checked`, a u64
  checked,
  usage,  ///< client: how much processor time have you used? Answered by `used`, a f64
  used,
  cluster,  ///< client: a Wait; start a scheduler and a server. Answered by `started`, a string
  started,
  failed,  ///< peer: cannot do that; a code (u16) and a string
};

/// A run over the transport itself.
struct Begin {
  Op op = Op::send;
  Wait wait = Wait::spin;
  bool echo = false;   ///< the peer sends as many bytes back, operation by operation
  bool check = false;  ///< the peer looks at every byte
  std::uint64_t bytes = 8;
  std::uint32_t inflight = 1;
  RemoteSpan memory{};  ///< the client's, for echoes of `write` and for `fetch`
};

/// The peer's memory, a ring of ring_size() buffers.
struct Ready {
  RemoteSpan memory{};
};

inline constexpr std::uint32_t kInflightMax = 1024;
inline constexpr std::size_t kMetaMax = 1024;

void encode(Writer& out, const Begin& begin);
/// Errors: protocol; invalid_argument for what is beyond bytes_max() and kInflightMax.
Result<Begin> decode_begin(std::span<const std::byte> meta);

/// The bytes that buffer `index` of a ring holds, the same on both sides.
void fill_pattern(std::span<std::byte> buffer, std::uint64_t index);
bool has_pattern(std::span<const std::byte> buffer, std::uint64_t index);

}  // namespace shoal::perf
