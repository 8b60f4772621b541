// Pulls of key lists whose keys the server READs.

#include <algorithm>
#include <cstring>

#include "server/engine/pulls.h"

namespace shoal {

std::span<const Key> Pulls::aligned(const std::byte* keys, std::size_t bytes) {
  const auto count = bytes / sizeof(Key);
  if (reinterpret_cast<std::uintptr_t>(keys) % alignof(Key) == 0)
    return {reinterpret_cast<const Key*>(keys), count};
  aligned_keys_.resize(std::max(aligned_keys_.size(), count));
  std::memcpy(aligned_keys_.data(), keys, bytes);
  return {aligned_keys_.data(), count};
}

bool Pulls::post_key_read(PullOp& op, PullPart& part, std::byte* to, std::uint64_t first_key,
                          std::size_t bytes) {
  const auto& from = op.meta.keys;
  const auto status =
      plane_.transport.read(op.peer->endpoint, {to, bytes, MemorySpace::host, 0},
                            {from.region, from.address + first_key * sizeof(Key), bytes},
                            std::uint64_t{part.pool_index} << kTagBits | kKeyReadTag);
  if (!status.ok()) return false;
  part.op = &op;
  ++op.in_flight;
  ++op.peer->reads;
  ++plane_.metrics.reads;
  return true;
}

Pulls::Step Pulls::read_keys(PullOp& op, const Piece& piece) {
  if (!op.peer->may_read(plane_.limits)) return Step::busy;
  auto* part = parts_.take();
  if (part == nullptr) return Step::busy;
  part->run = op.run;
  part->index = op.index;
  part->number = op.number;
  part->buffer = plane_.landing.take(*op.peer, piece.key_bytes);
  part->buffer_bytes = piece.key_bytes;
  if (part->buffer != nullptr &&
      post_key_read(op, *part, part->buffer, piece.first_key, piece.key_bytes)) {
    plane_.landing.posted(*op.peer, piece.key_bytes, plane_.now);
    return Step::sent;
  }
  if (part->buffer != nullptr) plane_.landing.memory().give(part->buffer, piece.key_bytes);
  parts_.give(part);
  return Step::busy;
}

/// The keys of a small answer: all of them are fetched before it is made, a run at a time.
Pulls::Step Pulls::fetch_keys(PullOp& op) {
  if (!op.peer->may_read(plane_.limits)) return Step::busy;
  std::size_t at = 0;
  std::size_t total = 0;
  for (std::uint32_t r = 0; r < op.runs.size(); ++r) {
    if (r == op.run) at = total;
    total += op.runs[r].row_count * sizeof(Key);
  }
  if (op.keys == nullptr) {
    op.keys = plane_.waiting.take(total);
    op.keys_bytes = total;
    if (op.keys == nullptr) return Step::busy;
  }
  auto* part = parts_.take();
  if (part == nullptr) return Step::busy;
  const auto& run = op.runs[op.run];
  if (!post_key_read(op, *part, op.keys + at, run.row_begin, run.row_count * sizeof(Key))) {
    parts_.give(part);
    return Step::busy;
  }
  if (++op.run == op.runs.size()) op.peer->sends.erase(&op);
  return Step::sent;
}

/// The last of them is here: from now on they are as if they had come with the request.
void Pulls::keys_fetched(PullOp& op) {
  std::uint64_t first = 0;
  for (auto& run : op.runs) {
    run.row_begin = first;
    first += run.row_count;
  }
  op.eager_keys = op.keys;
  op.run = 0;
  proceed(op);
}

void Pulls::key_read_done(std::uint64_t index, Errc status) {
  auto& part = parts_.at(index);
  auto& peer = *part.op->peer;
  --peer.reads;
  if (part.buffer != nullptr) plane_.landing.ended(peer, part.buffer_bytes, plane_.now);
  part.failed = status;
  plane_.metrics.bytes_in += part.buffer_bytes;
  landed_.push_back(&part);
}

bool Pulls::gather_landed() {
  TurnWork work;
  while (!work.enough() && gather_next(work)) work.add_part();
  return work.any();
}

/// False: nothing has landed, or there is no memory to gather it into.
bool Pulls::gather_next(TurnWork& work) {
  auto* part = landed_.front();
  if (part == nullptr) return false;
  auto& op = *part->op;
  auto& peer = *op.peer;
  if (part->failed != Errc::ok && op.ended == Errc::ok) {
    op.ended = part->failed;
    peer.sends.erase_if_linked(&op);
  }
  if (part->buffer == nullptr) {  // Of fetch_keys: the bytes are the request's.
    landed_.erase(part);
    parts_.give(part);
    --op.in_flight;
    if (op.in_flight != 0) return true;
    if (op.ended != Errc::ok || peer.gone) {
      end(op, op.ended);
    } else if (op.run == op.runs.size()) {
      work.add_bytes(op.keys_bytes);  // its answer is made now
      keys_fetched(op);
    }
    return true;
  }
  if (op.ended == Errc::ok && !peer.gone) {
    auto& slot = *slot_of(op, part->run);
    auto piece = piece_of(slot, op, part->run, part->index);
    piece.rows.keys = aligned(part->buffer, piece.key_bytes);
    piece.rows.known = true;
    if (send_list(op, slot, piece) == Step::busy) {
      landed_.erase(part);  // Another peer's may go first.
      landed_.push_back(part);
      return false;
    }
    work.add_bytes(piece.bytes);
    if (op.ended == Errc::ok && !op.signatures.empty())
      plane_.lists.put(slot, op.signatures[part->number], piece.rows.keys);
  }
  landed_.erase(part);
  plane_.landing.memory().give(part->buffer, part->buffer_bytes);
  parts_.give(part);
  --op.in_flight;
  const bool more = op.ended == Errc::ok && op.run < op.runs.size();
  if (op.in_flight == 0 && (!more || peer.gone)) end(op, op.ended);
  return true;
}

}  // namespace shoal
