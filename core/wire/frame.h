#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/ids.h"
#include "core/base/result.h"

// Every byte between two Shoal processes travels in frames: a 64-byte header, then `meta_bytes` of
// typed fields (a part list, a view, ...), then `payload_bytes` of rows or keys. All integers are
// little-endian. See docs/design/wire_format.md.

namespace shoal {

inline constexpr std::uint32_t kFrameMagic = 0x314c4853;  // "SHL1" as it stands in memory
inline constexpr std::uint16_t kWireVersion = 1;
inline constexpr std::size_t kFrameHeaderBytes = 64;

/// What a frame is. Numbers never change their meaning.
enum class FrameKind : std::uint16_t {
  // The transport's own; never seen above it.
  auth_challenge = 1,  ///< Acceptor -> connector: a random nonce.
  auth_proof = 2,      ///< Connector -> acceptor: HMAC over both nonces, and a nonce of its own.
  auth_accept = 3,     ///< Acceptor -> connector: its own HMAC, so that both sides know.
  bulk_write = 4,      ///< Payload for a region of the receiver.
  bulk_read = 5,       ///< Asks for bytes of a region of the receiver.
  bulk_data = 6,       ///< Payload that answers a bulk_read.
  bulk_refused = 7,    ///< The region of a bulk_read or bulk_write is revoked or out of bounds.
  path_offer = 8,      ///< Acceptor -> connector: which faster paths it has.
  path_begin = 9,      ///< Connector -> acceptor: one of them, and the connector's end of it.
  path_answer = 10,    ///< Acceptor -> connector: its end.
  path_try = 11,       ///< Over the path, both ways and on both lanes: it carries bytes.
  path_use = 12,       ///< Connector -> acceptor, over the path: its lane goes there from here on.
  path_decline = 13,   ///< Either: no faster path, and why; the connection stays as it is.
  region_key = 14,     ///< Over a path: how to reach a region of the sender.
  region_gone = 15,    ///< Over a path: the region is revoked.
  // Sessions.
  hello = 32,    ///< First frame of a session: who I am.
  welcome = 33,  ///< Its answer: who answers, and how many credits.
  credit = 34,   ///< Returns credits of parked requests, with the server's G.
  cancel = 35,   ///< Asks to let go of a request; the request's own answer is the confirmation.
  answer = 36,   ///< The end of a request.
  // Workers to servers.
  push = 64,
  pull = 65,
  call = 66,       ///< Reserved: a user's function on the server.
  scan = 67,       ///< Reserved: all rows of a key range of a sparse table.
  directory = 68,  ///< Where a table's segments can be READ: docs/design/one_sided.md.
  // To and from the scheduler.
  join = 96,
  leave = 97,
  heartbeat = 98,
  tick = 99,
  open_table = 100,
  drop_table = 101,
  set_parameter = 102,
  barrier = 103,
  get_view = 104,
  report_lost = 105,
  status = 106,
  view = 107,          ///< Scheduler -> node: a full view or a delta.
  global_clock = 108,  ///< Scheduler -> server: G.
  straggler = 109,     ///< Worker -> scheduler: whom does a pull wait for?
};

/// Bits of FrameHeader::flags.
namespace frame_flag {
inline constexpr std::uint16_t kBurnt = 2;             ///< push: the parts carry no data
inline constexpr std::uint16_t kStore = 4;             ///< push: sets rows past the update rule
inline constexpr std::uint16_t kRendezvous = 8;        ///< push: the payload is to be READ
inline constexpr std::uint16_t kKeyList = 16;          ///< push, pull: rows are named by keys
inline constexpr std::uint16_t kAllApplied = 32;       ///< answer to a push: every part applied
inline constexpr std::uint16_t kObserver = 64;         ///< pull: of an observer, admitted at once
inline constexpr std::uint16_t kDelta = 128;           ///< view: a delta, not a full view
inline constexpr std::uint16_t kPayloadWritten = 256;  ///< answer to a pull: the bytes were WRITTEN
inline constexpr std::uint16_t kSigned =
    512;  ///< push, pull: the key list's signatures are in meta
}  // namespace frame_flag

/// The 64 bytes that begin every frame, as they stand on the wire. A field that a kind does not use
/// is zero.
struct FrameHeader {
  std::uint32_t magic = kFrameMagic;
  std::uint16_t version = kWireVersion;
  FrameKind kind = FrameKind::hello;
  RequestId request;        ///< Which request this is or answers.
  std::uint64_t epoch = 0;  ///< The sender's view, Epoch::packed().
  WorkerClock clock;        ///< Requests: the use clock. Answers and credits: the server's G.
  TableId table;
  std::uint16_t flags = 0;   ///< frame_flag
  std::uint16_t status = 0;  ///< Answers: an Errc.
  std::uint32_t meta_bytes = 0;
  std::uint32_t credits = 0;  ///< Credits that this frame returns.
  std::uint64_t payload_bytes = 0;
  std::uint64_t checksum = 0;  ///< XXH3-64 of the header with this field zero, then of meta.
};
static_assert(sizeof(FrameHeader) == kFrameHeaderBytes);
static_assert(offsetof(FrameHeader, kind) == 6 && offsetof(FrameHeader, request) == 8);
static_assert(offsetof(FrameHeader, epoch) == 16 && offsetof(FrameHeader, clock) == 24);
static_assert(offsetof(FrameHeader, table) == 32 && offsetof(FrameHeader, flags) == 36);
static_assert(offsetof(FrameHeader, status) == 38 && offsetof(FrameHeader, meta_bytes) == 40);
static_assert(offsetof(FrameHeader, credits) == 44 && offsetof(FrameHeader, payload_bytes) == 48);
static_assert(offsetof(FrameHeader, checksum) == 56);
static_assert(std::has_unique_object_representations_v<FrameHeader>);

/// What a receiver accepts; a frame beyond it is Errc::protocol.
struct FrameLimits {
  std::uint32_t meta_bytes_max = 1u << 20;     ///< a view of a thousand servers is 204 KB
  std::uint64_t payload_bytes_max = 1u << 20;  ///< of a message; bulk frames have a segment's
};

/// Fills in meta_bytes and checksum: the last step before a frame is sent.
void seal(FrameHeader& header, std::span<const std::byte> meta);

/// Reads a header from untrusted bytes: magic, version (Errc::version), known kind and lengths.
/// Does not look at the checksum, which covers meta too.
Result<FrameHeader> parse_header(std::span<const std::byte, kFrameHeaderBytes> bytes,
                                 const FrameLimits& limits);

/// Errc::corrupt unless the checksum of header and meta is right.
Status verify(const FrameHeader& header, std::span<const std::byte> meta);

/// A received frame. The spans belong to the transport and are valid until its next `poll`.
struct FrameView {
  FrameHeader header;
  std::span<const std::byte> meta;
  std::span<const std::byte> payload;
};

}  // namespace shoal
