// Parts of pushes whose bytes the server READs: asked for in order and in time, given up with their
// push.

#include <algorithm>
#include <utility>

#include "server/engine/pushes.h"
#include "server/engine/turn_work.h"

namespace shoal {

/// The answer to a burn ends the loan of the worker's memory, so it goes out only when no READ of
/// what was burnt is under way.
void Pushes::outlast_reads(PushOp& op) {
  for (auto* part = op.peer->dropped.front(); part != nullptr; part = op.peer->dropped.next(part)) {
    if (part->heir != nullptr || part->op == &op) continue;
    const auto burnt = std::any_of(op.runs.begin(), op.runs.end(), [&](const PushRun& run) {
      const auto* table = plane_.shard.find(op.table);
      return part->slot == table->slots[run.slot.value].get() && part->member == op.member &&
             part->q >= run.first_q && part->q < run.first_q + run.part_count;
    });
    if (!burnt) continue;
    part->heir = &op;
    ++op.reads;
  }
}

/// The rows of a part whose bytes are here: by the keys before its values, or as the server keeps
/// them. False: it did, and does no more.
bool Pushes::name_rows(const Part& part, Piece& piece) {
  piece.rows.known = true;
  if (part.key_bytes != 0) {
    piece.rows.keys = {reinterpret_cast<const Key*>(part.buffer), part.key_bytes / sizeof(Key)};
    return true;
  }
  const auto list = plane_.lists.find(*part.slot, part.op->signatures[part.number],
                                      piece.key_bytes / sizeof(Key));
  piece.rows.keys = list.keys;
  piece.rows.positions = list.positions;
  piece.rows.distinct = list.distinct;
  return list.known();
}

/// Once more, with the keys.
void Pushes::refetch(Part& part) {
  unland(part);
  part.arena->give(part.buffer, part.buffer_bytes);
  part.buffer = nullptr;
  part.bytes = Part::Bytes::held;
  part.needs_keys = true;
  want(part);
}

/// Its bytes cannot be read where they are. It has memory for them, so it waits for nobody.
void Pushes::must_copy(Part& part) {
  unland(part);
  part.bytes = Part::Bytes::held;
  part.needs_copy = true;
  want(part);
}

/// Asks for the bytes of the first parts, up to one that could not be applied yet: what has landed
/// can always be applied once those before it have, so landing memory comes back.
void Pushes::look_ahead(SlotState& slot, PushSource& source) {
  auto ahead = 2 * plane_.limits.reads_per_peer;
  for (auto* part = source.front; part != nullptr && ahead > 0; part = part->next, --ahead) {
    if (part->bytes != Part::Bytes::held) continue;
    auto& op = *part->op;
    const auto piece = piece_of(slot, op, op.runs[part->run], part->index);
    if ((op.flags & frame_flag::kStore) == 0) {
      const auto outcome = slot.admits(op.member, op.clock, plane_.global_clock, piece.rows);
      if (is_held(outcome)) return hold(op, slot, outcome);
    }
    want(*part);
  }
}

void Pushes::want(Part& part) {
  auto& peer = *part.op->peer;
  if (peer.gone) return;
  plane_.trace.admitted(part.op->times);
  part.bytes = Part::Bytes::wanted;
  peer.wants.push_back(&part);
  if (!readers_.contains(&peer)) readers_.push_back(&peer);
}

bool Pushes::start_reads() {
  plane_.landing.begin_turn();
  bool posted = false;
  for (bool progress = true; progress;) {
    progress = false;
    for (auto turns = readers_.size(); turns > 0; --turns) {
      auto* peer = readers_.pop_front();
      if (peer->wants.empty()) continue;
      // At its limit it stays in line: the reads under way may be those of its pulls' keys, whose
      // end nobody tells here.
      auto& part = *peer->wants.front();
      if (may_stay(part)) {
        if (peer->there < plane_.limits.reads_per_peer) progress |= leave_there(part);
      } else if (peer->may_read(plane_.limits, plane_.transport.reads_by_copy(
                                                   peer->endpoint, part.op->meta.values.region))) {
        progress |= post_reads(part);
      }
      if (!peer->wants.empty()) readers_.push_back(peer);
    }
    posted |= progress;
  }
  return posted;
}

/// Whether it is to be applied from where its bytes are: what the server would copy itself.
bool Pushes::may_stay(const Part& part) const {
  const auto& op = *part.op;
  return !part.needs_copy && (op.flags & frame_flag::kKeyList) == 0 && !plane_.shard.late() &&
         plane_.transport.reads_by_copy(op.peer->endpoint, op.meta.values.region);
}

/// It keeps memory all the same, for a READ if that has to be: parts behind it that are READ must
/// not have taken the last.
bool Pushes::leave_there(Part& part) {
  auto& op = *part.op;
  const auto piece = piece_of(*part.slot, op, op.runs[part.run], part.index);
  part.buffer = plane_.landing.take(*op.peer, piece.value_bytes);
  if (part.buffer == nullptr) return false;
  part.arena = &plane_.landing.memory();
  part.buffer_bytes = piece.value_bytes;
  part.key_bytes = 0;
  op.peer->wants.erase(&part);
  part.bytes = Part::Bytes::there;
  land(part);
  return true;
}

bool Pushes::post_reads(Part& part) {
  auto& op = *part.op;
  auto& peer = *op.peer;
  const auto piece = piece_of(*part.slot, op, op.runs[part.run], part.index);
  const bool listed_here = !op.signatures.empty() && !part.needs_keys &&
                           plane_.lists.touch(*part.slot, op.signatures[part.number]);
  part.key_bytes = listed_here ? 0 : piece.key_bytes;
  part.buffer_bytes = part.key_bytes + piece.value_bytes;
  if (part.buffer == nullptr) part.buffer = plane_.landing.take(peer, part.buffer_bytes);
  if (part.buffer == nullptr) return false;
  part.arena = &plane_.landing.memory();
  const auto post = [&](std::byte* to, const WireSpan& span, std::uint64_t offset,
                        std::size_t bytes) {
    const auto status =
        plane_.transport.read(peer.endpoint, {to, bytes, MemorySpace::host, 0},
                              {span.region, span.address + offset, bytes},
                              std::uint64_t{part.pool_index} << kTagBits | kReadTag);
    if (status.ok()) ++part.reads_left;
    return status.ok();
  };
  // All or nothing would need two places in the queue: the keys first, then the values.
  bool ok = part.key_bytes == 0 ||
            post(part.buffer, op.meta.keys, piece.first_key * sizeof(Key), part.key_bytes);
  if (ok) {
    if (!post(part.buffer + part.key_bytes, op.meta.values, piece.value_offset,
              piece.value_bytes)) {
      if (part.reads_left == 0) {
        ok = false;
      } else {
        part.failed = Errc::overloaded;  // Asked for again when the keys are here.
      }
    }
  }
  if (!ok) {
    part.arena->give(part.buffer, part.buffer_bytes);
    part.buffer = nullptr;
    return false;
  }
  peer.wants.erase(&part);
  part.bytes = Part::Bytes::reading;
  ++op.reads;
  ++peer.reads;
  ++plane_.metrics.reads;
  plane_.landing.posted(peer, part.buffer_bytes, plane_.now);
  return true;
}

void Pushes::read_done(std::uint64_t index, Errc status) {
  auto& part = parts_.at(index);
  if (status != Errc::ok && part.failed != Errc::revoked) part.failed = status;
  auto& op = *part.op;
  auto& peer = *op.peer;
  --part.reads_left;
  plane_.landing.ended(peer, part.reads_left == 0 ? part.buffer_bytes : 0, plane_.now);
  if (part.reads_left > 0) return;
  --op.reads;
  --peer.reads;
  if (part.dropped) {
    auto* heir = part.heir;
    peer.dropped.erase(&part);
    part.bytes = Part::Bytes::here;
    release(&part);
    end_if_done(op);
    if (heir == nullptr) return;
    --heir->reads;
    return end_if_done(*heir);
  }
  if (part.failed == Errc::ok) {
    part.bytes = Part::Bytes::here;
    plane_.metrics.bytes_in += part.buffer_bytes;
    land(part);
    return;
  }
  part.arena->give(part.buffer, part.buffer_bytes);
  part.buffer = nullptr;
  const auto failed = std::exchange(part.failed, Errc::ok);
  part.bytes = Part::Bytes::held;
  if (failed == Errc::overloaded) return want(part);
  // The worker took its memory back: the part cannot come. Of a connection that broke, its end
  // follows and drops all.
  if (failed == Errc::revoked)
    unqueue_all(*part.slot, part.slot->source(part.member), &part, Errc::revoked, &peer);
}

void Pushes::land(Part& part) {
  landed_.push_back(&part);
  part.op->peer->there += part.bytes == Part::Bytes::there;
}

void Pushes::unland(Part& part) {
  if (!landed_.contains(&part)) return;
  landed_.erase(&part);
  part.op->peer->there -= part.bytes == Part::Bytes::there;
}

bool Pushes::apply_landed() {
  TurnWork work;
  while (!work.enough()) {
    auto* part = landed_.front();
    if (part == nullptr) break;
    unland(*part);
    work.add_part();
    work.add_bytes(part->buffer_bytes);
    advance(*part->slot, part->slot->source(part->member));
  }
  return work.any();
}

}  // namespace shoal
