#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "core/base/ids.h"
#include "core/base/result.h"
#include "core/table/key_signature.h"
#include "core/wire/codec.h"
#include "core/wire/frame.h"

// What workers and servers tell each other about rows: the meta of push, pull and answer frames.
// All are wire structs without padding, read in place. See docs/design/wire_format.md.

namespace shoal {

/// Parts of one request: 64 GiB of rows, and half a frame of codes in its answer.
inline constexpr std::uint32_t kPartsMax = 1u << 18;

/// What rides in one message: the rows of a pull's answer, the keys of a key list, the keys and
/// values of a push. Larger ones are READ and WRITTEN. A server copies an answer's rows, and more
/// of them would hold up the messages behind it.
inline constexpr std::size_t kEagerBytesMax = 64u << 10;

/// Bytes in the memory of a worker, as a transport's RemoteSpan travels.
struct WireSpan {
  std::uint64_t region = 0;
  std::uint64_t address = 0;
  std::uint64_t bytes = 0;
};

/// The parts of one slot in a push: consecutive sequence numbers first_q, first_q + 1, ...
/// Dense ranges: rows [row_begin, row_begin + row_count) of the table, all in this slot, one part
/// for each segment touched; their values stand at `offset` of the values. Key lists: `row_count`
/// keys, one part for each rows_per_segment of them; their keys begin at key `row_begin` of the
/// keys and their values at `offset` of the values. On a dense table the keys are rows; part
/// boundaries are the same count (parts of a dense key list may touch several segments, each
/// applied whole).
struct PushRun {
  SlotIndex slot;
  std::uint32_t part_count = 0;
  Sequence first_q;
  std::uint64_t row_begin = 0;
  std::uint64_t row_count = 0;
  std::uint64_t offset = 0;  ///< bytes
  std::uint64_t since = 0;   ///< Epoch::packed() of the chain the sender knows
};
static_assert(sizeof(PushRun) == 48 && std::has_unique_object_representations_v<PushRun>);

/// Meta of a push: this, then `run_count` PushRuns, then (frame_flag::kSigned) a KeySignature for
/// each part in the order of the runs. header.clock is the worker's clock.
/// Eager: payload = keys (u64 each; key lists only), then values.
/// Rendezvous (frame_flag::kRendezvous): no payload; `keys` and `values` are READ by the server.
/// Signed (frame_flag::kSigned): a rendezvous key list that was sent before; `keys` is READ only
/// where the server has not kept the list of that signature.
/// Burnt (frame_flag::kBurnt): no payload, no spans. So does a worker's tick() complete its
/// contribution to the segments of a collective table that it did not push: burnt parts over the
/// rows of those segments. A collective contribution of a worker to a segment is complete when the
/// rows of its parts at that clock, burnt ones included, add up to at least the segment's rows.
struct PushMeta {
  std::uint32_t run_count = 0;
  std::uint32_t inputs = 1;  ///< values that the rule takes per weight
  WireSpan keys;
  WireSpan values;
};
static_assert(sizeof(PushMeta) == 56);

/// The rows of one slot in a pull. Fields as in PushRun; the values go to `offset` of the
/// destination.
struct PullRun {
  SlotIndex slot;
  std::uint32_t part_count = 0;
  std::uint64_t row_begin = 0;
  std::uint64_t row_count = 0;
  std::uint64_t offset = 0;  ///< bytes
  Sequence after;            ///< answered only after this push of the worker was applied; 0: any
  WorkerClock have;          ///< version the puller has; -1: none (reserved for `unchanged`)
  std::uint64_t since = 0;
};
static_assert(sizeof(PullRun) == 56 && std::has_unique_object_representations_v<PullRun>);

/// Meta of a pull: this, then `run_count` PullRuns, then (frame_flag::kSigned) a KeySignature for
/// each part. header.clock is the use clock u.
/// Key lists (frame_flag::kKeyList): the keys are the payload, or are READ from `keys`; of a signed
/// list, which needs `keys` and `destination`, only where the server does not have it.
/// destination.bytes == 0: the answer carries the values as its payload, at most
/// kEagerBytesMax.
struct PullMeta {
  std::uint32_t run_count = 0;
  std::uint32_t reserved = 0;
  std::uint64_t time_left = 0;  ///< ns until the worker's deadline
  WorkerClock need;             ///< admitted when G, or the version, is at least this
  WireSpan keys;
  WireSpan destination;
};
static_assert(sizeof(PullMeta) == 72);

/// Meta of the answer to a push or a pull: this, then `part_count` u16 Errcs (padded to 8 bytes) in
/// the order of the request's runs; part_count is 0 when all parts have header.status. For a burnt
/// push a part's code is `cancelled` (burnt now, never applied) or `ok` (the sequence was there).
/// A `stale_view` answer has the receiver's view after it, full or as a delta (frame_flag::kDelta),
/// if the connection has not brought it yet.
struct AnswerMeta {
  std::uint32_t part_count = 0;
  NodeId holder;  ///< a worker that holds G back, for messages to people
  std::uint32_t roster = 0;
  std::uint32_t reserved = 0;
  WorkerClock oldest;  ///< pull: oldest and newest version in the answer
  WorkerClock newest;
};
static_assert(sizeof(AnswerMeta) == 32);

/// Meta of a `directory` request: where a worker can READ this server's slots of a table, from slot
/// `first` on. The payload of the answer is DirectorySlots, at most kDirectorySlotsMax, ascending.
/// `unavailable`: nobody can, and why in words. See docs/design/one_sided.md.
struct DirectoryMeta {
  SlotIndex first;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(DirectoryMeta) == 8);

struct DirectorySlot {
  SlotIndex slot;
  std::uint32_t reserved = 0;
  std::uint64_t since = 0;  ///< Epoch::packed() of the slot's chain
  WireSpan entries;         ///< DirectoryEntry of each of the slot's segments, in order
};
static_assert(sizeof(DirectorySlot) == 40);
inline constexpr std::size_t kDirectorySlotsMax = 1024;

Result<DirectoryMeta> parse_directory(const FrameView& frame);
/// Calls f(const DirectorySlot&) for each slot of an answer. Errors: protocol.
template <class F>
Status for_each_directory_slot(std::span<const std::byte> payload, F&& f) {
  if (payload.size() % sizeof(DirectorySlot) != 0)
    return Error{Errc::protocol, "malformed directory: half a slot"};
  for (; !payload.empty(); payload = payload.subspan(sizeof(DirectorySlot))) {
    DirectorySlot slot;  // payloads are not aligned
    std::memcpy(&slot, payload.data(), sizeof slot);
    f(slot);
  }
  return {};
}

/// A parsed meta: `prefix` by value, `runs` and `signatures` in place in the frame (8-byte aligned
/// by the transports). There is a signature for every part, or none.
template <class Prefix, class Run>
struct PartList {
  Prefix prefix;
  std::span<const Run> runs;
  std::span<const KeySignature> signatures;
};
using PushParts = PartList<PushMeta, PushRun>;
using PullParts = PartList<PullMeta, PullRun>;

/// Reads and checks what needs no table: lengths, counts, no run empty. What a run may cover is
/// checked by the server against the table's Geometry.
Result<PushParts> parse_push(const FrameView& frame);
Result<PullParts> parse_pull(const FrameView& frame);

inline constexpr std::size_t kReasonBytesMax = 512;

struct AnswerParts {
  AnswerMeta prefix;
  std::span<const std::uint16_t> part_codes;  ///< Errc each
  /// stale_view: the view; another refusal: why, in words, at most kReasonBytesMax, or nothing.
  std::span<const std::byte> rest;
};
Result<AnswerParts> parse_answer(const FrameView& frame);

}  // namespace shoal
