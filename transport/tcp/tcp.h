#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "transport/transport.h"

namespace shoal::tcp {

/// What happened at the door, for metrics and tests. Written by the transport's loop only.
struct TcpCounters {
  std::uint64_t accepted_endpoints = 0;
  std::uint64_t garbage = 0;        ///< Connections that did not speak Shoal's protocol.
  std::uint64_t wrong_token = 0;    ///< Connections that did not know the token.
  std::uint64_t wrong_version = 0;  ///< Connections of another wire version.
  std::uint64_t too_slow = 0;       ///< Connections that did not prove themselves in time.
  std::uint64_t crowded_out = 0;    ///< Oldest unproved connections that gave way to new ones.
  std::uint64_t accept_rests = 0;   ///< Times the listener rested, for want of descriptors or room.
  std::uint64_t swallowed_bytes = 0;  ///< Of writes into regions that are not (any longer) there.
};

struct TcpOptions {
  /// The cluster's secret: the same bytes in every process. Not empty.
  std::vector<std::byte> token;
  /// SO_SNDBUF and SO_RCVBUF in bytes; 0 lets the kernel tune them, which suits every path tried.
  int send_buffer_bytes = 0;
  int receive_buffer_bytes = 0;
  /// Bytes that one bulk socket moves, each way, before the messages are looked at again, up to the
  /// end of a frame (of 256 KiB, or of this if it is less); 4 KiB to 16 MiB. 512 KiB are some 100
  /// us of copying. Smaller turns serve small operations sooner while large ones are under way, and
  /// cost those throughput: see docs/tuning.md.
  std::size_t bulk_turn_bytes = 512u << 10;
  /// A peer whose kernel acknowledges nothing for this long is lost (TCP_USER_TIMEOUT, RFC 5482).
  Duration user_timeout = std::chrono::seconds(30);
  /// Idle time after which the peer's kernel is asked whether it still lives.
  Duration keepalive_idle = std::chrono::seconds(10);
  /// Whoever owns the transport negotiates faster paths: path_* frames of peers that do so too are
  /// messages.
  bool paths = false;
  /// Only messages of coordination travel on these connections: peers may not ask for faster paths.
  bool control = false;
  /// How explain() ends: why there is no faster path, as "; no faster path: ...".
  std::string remark;
  /// Optional; must outlive the transport.
  TcpCounters* counters = nullptr;
};

/// Sockets. An endpoint is two connections to the peer's one port, one for each lane, joined by a
/// random id; both prove the token first. `clock` must be monotonic real time and outlive the
/// transport. Numeric addresses never block; a host name is resolved inside listen() and connect()
/// by getaddrinfo(3), which may wait for DNS: clusters hand out numeric addresses.
/// Errors: invalid_argument (empty token), io (no descriptors).
Result<std::unique_ptr<Transport>> create_tcp(const TcpOptions& options, const Clock& clock);

}  // namespace shoal::tcp
