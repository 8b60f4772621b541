#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "core/memory/device.h"
#include "core/table/messages.h"
#include "server/engine/pool.h"
#include "server/limits.h"
#include "server/store/members.h"
#include "server/store/memory.h"
#include "transport/session.h"

// The requests that a server has in hand, and the peers that made them. All live in pools and are
// linked through themselves; see server/engine/pushes.h and server/engine/pulls.h for who does what
// with them.

namespace shoal {

class SlotState;

/// What a READ's or WRITE's context names: a tag, and above it an index in its pool.
inline constexpr unsigned kTagBits = 2;
inline constexpr std::uint64_t kTagMask = 3;
inline constexpr std::uint64_t kReadTag = 1;     ///< Part
inline constexpr std::uint64_t kKeyReadTag = 2;  ///< PullPart
inline constexpr std::uint64_t kWriteTag = 3;    ///< WriteTicket

struct PushOp;
struct PullOp;
struct Peer;

/// When a request came to what, if somebody traces. TimePoint{}: not yet.
struct RequestTimes {
  TimePoint received{}, admitted{}, applied{};
};

/// A part of a push that was accepted and could not be applied at once. Its place is in its
/// source's queue; a part that was dropped while it was being READ lives on until that READ has
/// ended.
struct Part {
  enum class Bytes : std::uint8_t { none, held, wanted, reading, here, there };

  std::uint32_t pool_index = 0;  ///< of the Pool it lives in; so in all of these
  Part* next = nullptr;          ///< in its source's queue
  PushOp* op = nullptr;
  SlotState* slot = nullptr;
  MemberIndex member = 0;
  std::uint32_t run = 0;
  std::uint32_t index = 0;
  Sequence q;
  /// none: burnt; held: not asked for yet; there: to be read where the worker has them
  Bytes bytes = Bytes::none;
  bool early = false;  ///< it came to wait for other workers
  bool dropped = false;
  PushOp* heir = nullptr;  ///< of a dropped one: the burn that is not answered before its READ ends
  Errc failed = Errc::ok;  ///< of its READs
  std::uint8_t reads_left = 0;
  Arena* arena = nullptr;
  std::byte* buffer = nullptr;  ///< keys, then values; there: for them, if they must be READ yet
  std::size_t buffer_bytes = 0;
  std::size_t key_bytes = 0;  ///< of it; 0 of a list that KeyLists has
  std::uint32_t number = 0;   ///< among the request's parts: which signature is its
  bool needs_keys = false;    ///< signed, but the list went before the values had come
  bool needs_copy = false;    ///< they could not be read where the worker has them
  Errc ended = Errc::ok;      ///< settling: its answer
  DeviceEvent applied;        ///< settling: when that is
  Link<Part> want;            ///< in its peer's list of parts to READ; once dropped, of those
  Link<Part> landed;          ///< in the list of parts to apply, or of those that settle

  void recycle() { *this = {}; }
};

/// A push request.
struct PushOp {
  std::uint32_t pool_index = 0;
  Peer* peer = nullptr;
  RequestId request;
  MemberIndex member = 0;
  TableId table;
  std::uint64_t epoch = 0;
  WorkerClock clock;
  std::uint16_t flags = 0;
  PushMeta meta;
  std::span<const PushRun> runs;             ///< in the frame; in `kept` once it is left
  std::span<const KeySignature> signatures;  ///< likewise
  std::vector<PushRun> kept;
  std::vector<KeySignature> kept_signatures;
  std::vector<std::uint16_t> codes;  ///< Errc a part; empty: all ok so far
  std::uint32_t part_count = 0;
  std::uint32_t parts_taken = 0;  ///< numbered as they were taken
  std::uint32_t parts_left = 0;
  std::uint32_t reads = 0;
  bool parked = false;
  RequestTimes times;
  Link<PushOp> link;      ///< in its peer's pushes
  Link<PushOp> finished;  ///< done, while the server may not answer

  void recycle() {
    auto runs_room = std::move(kept);
    auto signatures_room = std::move(kept_signatures);
    auto codes_room = std::move(codes);
    runs_room.clear();
    signatures_room.clear();
    codes_room.clear();
    *this = {};
    kept = std::move(runs_room);
    kept_signatures = std::move(signatures_room);
    codes = std::move(codes_room);
  }
};

/// A part of a key-list pull whose keys are being READ.
struct PullPart {
  std::uint32_t pool_index = 0;
  PullOp* op = nullptr;
  std::uint32_t run = 0;
  std::uint32_t index = 0;
  std::uint32_t number = 0;     ///< as in Part
  std::byte* buffer = nullptr;  ///< null: the keys land in the request's own
  std::size_t buffer_bytes = 0;
  Errc failed = Errc::ok;
  Link<PullPart> landed;

  void recycle() { *this = {}; }
};

/// A pull request.
struct PullOp {
  std::uint32_t pool_index = 0;
  Peer* peer = nullptr;
  RequestId request;
  MemberIndex member = Members::kNone;
  TableId table;
  std::uint64_t epoch = 0;
  std::uint16_t flags = 0;
  bool observer = false;
  bool parked = false;
  PullMeta meta;
  std::vector<PullRun> runs;
  std::vector<KeySignature> signatures;
  TimePoint deadline = kNever;
  RequestTimes times;
  std::byte* keys = nullptr;  ///< eager ones, kept while the request waits
  std::size_t keys_bytes = 0;
  const std::byte* eager_keys = nullptr;
  std::uint32_t run = 0;  ///< where it has got to
  std::uint32_t index = 0;
  std::uint32_t number = 0;     ///< parts before that
  std::uint32_t in_flight = 0;  ///< PullParts
  Errc ended = Errc::ok;        ///< why it ends early, once nothing is in flight
  WorkerClock oldest{std::numeric_limits<std::int64_t>::max()};
  WorkerClock newest{std::numeric_limits<std::int64_t>::min()};
  SlotState* waits_on = nullptr;
  bool at_gate = false;
  Link<PullOp> link;     ///< in its peer's pulls
  Link<PullOp> sending;  ///< in its peer's sends
  Link<PullOp> waiting;  ///< at the gate, or in a slot's pulls_waiting
  Link<PullOp> timed;    ///< among those with a deadline that is watched
  Link<PullOp> alive;    ///< all

  bool listed() const { return (flags & frame_flag::kKeyList) != 0; }
  bool inlined() const { return meta.destination.bytes == 0; }
  void recycle() {
    auto runs_room = std::move(runs);
    auto signatures_room = std::move(signatures);
    runs_room.clear();
    signatures_room.clear();
    *this = {};
    runs = std::move(runs_room);
    signatures = std::move(signatures_room);
  }
};

/// A WRITE under way, and what its bytes stand in.
struct WriteTicket {
  std::uint32_t pool_index = 0;
  Peer* peer = nullptr;
  SegmentMemory* memory = nullptr;  ///< pinned; or:
  std::byte* gathered = nullptr;
  std::size_t gathered_bytes = 0;
  PullOp* op = nullptr;      ///< settling: whose rows a device is to bring,
  std::uint64_t offset = 0;  ///< where they go,
  std::uint64_t rows = 0;    ///< how many they are,
  DeviceEvent brought;       ///< and when they are there
  TimePoint posted{};
  Link<WriteTicket> by_age;
  Link<WriteTicket> settling;  ///< among those that a device is to bring

  void recycle() { *this = {}; }
};

/// A connection of a worker or observer. Stays, with `gone`, until what it was lent has come back.
struct Peer {
  EndpointId endpoint;
  NodeId node;
  Role role = Role::worker;
  bool gone = false;
  Epoch told;                     ///< of the view that it was sent last, with a `stale_view` answer
  std::uint32_t held = 0;         ///< requests that wait for a newer view
  std::uint32_t ops = 0;          ///< requests in hand
  std::uint32_t reads = 0;        ///< parts being READ
  std::uint32_t there = 0;        ///< parts to be applied from where they are
  std::uint32_t pins = 0;         ///< WRITEs under way
  TimePoint moved{};              ///< when one of them last ended
  std::size_t landing_bytes = 0;  ///< of landing memory that READs from it are under way into
  TimePoint landed_last{};        ///< when one of those last ended, or the first was posted
  List<PushOp, &PushOp::link> pushes;
  List<PullOp, &PullOp::link> pulls;
  List<Part, &Part::want> wants;
  List<Part, &Part::want>
      dropped;  ///< nobody waits for their bytes, but their READs have not ended
  List<PullOp, &PullOp::sending> sends;
  Link<Peer> reading;  ///< has wants
  Link<Peer> writing;  ///< has sends, and may WRITE
  Link<Peer> landing;  ///< has READs under way into landing memory

  bool may_read(const ServerLimits& limits, bool by_copy = false) const {
    return reads < (by_copy ? limits.copies_per_peer : limits.reads_per_peer) ||
           (reads < limits.small_reads_per_peer && landing_bytes < limits.small_reads_bytes);
  }
  bool idle() const { return ops == 0 && reads == 0 && pins == 0 && held == 0; }
};

}  // namespace shoal
