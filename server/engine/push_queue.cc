// The queue of one (worker, slot): parts that were accepted and wait for their bytes, their time or
// those before them.

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/engine/pushes.h"

namespace shoal {

/// Gives a part its place in the queue, the end or that of an older copy.
Pushes::Step Pushes::enqueue(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index,
                             const Piece& piece, const FrameView& frame, Part* replaced) {
  auto& source = slot.source(op.member);
  const bool early =
      waits_for_others(op, slot, piece, replaced != nullptr ? replaced : source.back);
  auto* part = early && replaced == nullptr && !room_for_early() ? nullptr : parts_.take();
  const bool burnt = (op.flags & frame_flag::kBurnt) != 0;
  const bool eager = !burnt && (op.flags & frame_flag::kRendezvous) == 0;
  if (part != nullptr && eager && !keep_bytes(*part, op, piece, frame)) {
    parts_.give(part);
    part = nullptr;
  }
  if (part == nullptr) {
    end_part(op, run, index, Errc::overloaded);
    return Step::ended;
  }
  part->op = &op;
  part->slot = &slot;
  part->member = op.member;
  part->run = run;
  part->index = index;
  part->number = op.parts_taken - 1;
  part->q = op.runs[run].first_q + index;
  part->bytes = burnt ? Part::Bytes::none : eager ? Part::Bytes::here : Part::Bytes::held;
  part->early = early;
  early_ += early;
  if (replaced == nullptr) {
    source.sequence.accept(part->q);
    (source.front == nullptr ? source.front : source.back->next) = part;
    source.back = part;
    ++slot.parts_waiting;
    return Step::waits;
  }
  replace(slot, source, *replaced, *part);
  return Step::waits;
}

/// Whether a part waits for other workers, or behind one of its own worker that does.
bool Pushes::waits_for_others(const PushOp& op, const SlotState& slot, const Piece& piece,
                              const Part* before) const {
  if (before != nullptr && before->early) return true;
  if ((op.flags & frame_flag::kStore) != 0) return false;
  const auto outcome = slot.admits(op.member, op.clock, plane_.global_clock, piece.rows);
  return is_held(outcome) && outcome != Outcome::no_copy && outcome != Outcome::no_room;
}

/// Those who are ahead leave half of all places to those whom they wait for.
bool Pushes::room_for_early() const {
  return early_ < plane_.limits.parts_max / 2 && ops_.in_use() <= plane_.limits.pushes_max / 2;
}

/// Copies the bytes of a part out of its message. False: there is no room.
bool Pushes::keep_bytes(Part& part, const PushOp& op, const Piece& piece, const FrameView& frame) {
  part.buffer = plane_.waiting.take(piece.key_bytes + piece.value_bytes);
  if (part.buffer == nullptr) return false;
  part.arena = &plane_.waiting;
  part.buffer_bytes = piece.key_bytes + piece.value_bytes;
  part.key_bytes = piece.key_bytes;
  if (piece.key_bytes != 0)
    std::memcpy(part.buffer, frame.payload.data() + piece.first_key * sizeof(Key), piece.key_bytes);
  std::memcpy(part.buffer + piece.key_bytes,
              frame.payload.data() + op.meta.keys.bytes + piece.value_offset, piece.value_bytes);
  return true;
}

/// The newer copy of a part takes the place of the older, which ends.
void Pushes::replace(SlotState& slot, PushSource& source, Part& older, Part& newer) {
  newer.next = older.next;
  if (source.front == &older) {
    source.front = &newer;
  } else {
    auto* before = source.front;
    while (before->next != &older) before = before->next;
    before->next = &newer;
  }
  if (source.back == &older) source.back = &newer;
  auto& op = *older.op;
  const auto run = older.run;
  const auto index = older.index;
  release(&older);
  end_part(op, run, index, newer.bytes == Part::Bytes::none ? Errc::cancelled : Errc::peer_lost);
  plane_.kick(slot);  // A burnt part at the front can go at once.
}

void Pushes::hold(PushOp& op, SlotState& slot, Outcome outcome) {
  if (outcome == Outcome::no_copy || outcome == Outcome::no_room)
    plane_.wait_for_copy(slot);
  else
    park(op);
}

/// Waiting for other workers must not use up what the late ones need to be heard.
void Pushes::park(PushOp& op) {
  if (op.parked || op.peer->gone) return;
  op.parked = plane_.sessions.park(op.peer->endpoint, plane_.global_clock);
  if (op.parked) ++plane_.metrics.parked;
}

void Pushes::advance(SlotState& slot) {
  if (slot.parts_waiting == 0) return;
  for (MemberIndex m = 0; m < slot.sources().size(); ++m)
    if (auto& source = slot.sources()[m]; source.front != nullptr) advance(slot, source);
}

/// Applies what is next and here; of READ bytes one part: apply_landed counts them.
void Pushes::advance(SlotState& slot, PushSource& source) {
  bool applied_landed = false;
  while (auto* part = source.front) {
    const bool bytes_known = part->bytes == Part::Bytes::here || part->bytes == Part::Bytes::there;
    if (bytes_known && part->arena == &plane_.landing.memory()) {
      if (applied_landed) {
        if (!landed_.contains(part)) land(*part);
        break;
      }
      applied_landed = true;
    }
    if (try_front(slot, source) == Step::waits) break;
  }
  if (source.front != nullptr) look_ahead(slot, source);
}

Pushes::Step Pushes::try_front(SlotState& slot, PushSource& source) {
  auto* part = source.front;
  const bool there = part->bytes == Part::Bytes::there;
  if (!there && part->bytes != Part::Bytes::here && part->bytes != Part::Bytes::none)
    return Step::waits;
  auto& op = *part->op;
  auto piece = piece_of(slot, op, op.runs[part->run], part->index);
  if (piece.rows.listed && part->buffer != nullptr && !name_rows(*part, piece)) {
    refetch(*part);
    return Step::waits;
  }
  const auto* values = part->buffer != nullptr ? part->buffer + part->key_bytes : nullptr;
  auto outcome = Outcome::applied;
  if (!there) {
    outcome = attempt(op, slot, piece, values);
  } else if (!attempt_there(op, slot, piece, outcome)) {
    must_copy(*part);
    return Step::waits;
  }
  if (is_held(outcome)) {
    hold(op, slot, outcome);
    return Step::waits;
  }
  if (there) plane_.metrics.bytes_in += piece.value_bytes;
  if (outcome == Outcome::applied && part->key_bytes != 0 && !op.signatures.empty())
    plane_.lists.put(slot, op.signatures[part->number], piece.rows.keys);
  source.front = part->next;
  if (source.front == nullptr) source.back = nullptr;
  --slot.parts_waiting;
  const auto run = part->run;
  const auto index = part->index;
  const auto q = part->q;
  if (plane_.shard.late() && part->buffer != nullptr) {
    settle(*part, finish(op, slot, q, outcome, piece.rows.count()));
    return Step::ended;
  }
  release(part);
  conclude(op, slot, run, index, q, outcome, piece.rows.count());
  return Step::ended;
}

/// With values that are read where the worker has them. False: they cannot be.
bool Pushes::attempt_there(PushOp& op, SlotState& slot, const Piece& piece, Outcome& outcome) {
  const auto& values = op.meta.values;
  return plane_.transport.read_in_place(
      op.peer->endpoint, {values.region, values.address + piece.value_offset, piece.value_bytes},
      [&](ConstMemoryView bytes) { outcome = attempt(op, slot, piece, bytes.data); });
}

/// A device still reads the part's bytes, and its rows are not changed before it has.
void Pushes::settle(Part& part, Errc code) {
  early_ -= std::exchange(part.early, false);
  unland(part);
  part.ended = code;
  const auto event = plane_.shard.device().record();
  if (event.ok()) part.applied = *event;
  settling_.push_back(&part);
}

bool Pushes::end_settled() {
  bool any = false;
  while (auto* part = settling_.front()) {
    if (!plane_.device_has(part->applied)) break;
    settling_.pop_front();
    any = true;
    auto& op = *part->op;
    const auto run = part->run;
    const auto index = part->index;
    const auto code = part->ended;
    part->arena->give(part->buffer, part->buffer_bytes);
    parts_.give(part);
    end_part(op, run, index, code);
  }
  // And room for lists; also of work that no part waits for.
  if (any || (settling_.empty() && plane_.shard.late())) plane_.copies_freed();
  return any;
}

/// Takes a part out of all lists but its source's queue; it is gone, or will be when its READ ends.
void Pushes::release(Part* part) {
  early_ -= std::exchange(part->early, false);
  unland(*part);
  if (part->bytes == Part::Bytes::wanted) part->op->peer->wants.erase(part);
  if (part->bytes == Part::Bytes::reading) {
    part->dropped = true;
    part->op->peer->dropped.push_back(part);
    return;
  }
  if (part->buffer != nullptr) part->arena->give(part->buffer, part->buffer_bytes);
  parts_.give(part);
}

/// Drops the parts from `from` on: those of `of` (null: all) end with `own`, others with `gap`.
void Pushes::unqueue_all(SlotState& slot, PushSource& source, Part* from, Errc own,
                         const Peer* of) {
  source.sequence.fall_back(from->q);
  if (source.front == from) {
    source.front = source.back = nullptr;
  } else {
    auto* before = source.front;
    while (before->next != from) before = before->next;
    before->next = nullptr;
    source.back = before;
  }
  while (from != nullptr) {
    auto* next = from->next;
    auto& op = *from->op;
    const auto run = from->run;
    const auto index = from->index;
    --slot.parts_waiting;
    release(from);
    end_part(op, run, index, of == nullptr || op.peer == of ? own : Errc::gap);
    from = next;
  }
}

}  // namespace shoal
