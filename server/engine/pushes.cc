#include "server/engine/pushes.h"

#include <algorithm>
#include <cstring>

namespace shoal {

namespace {

bool is_held(Outcome outcome) {
  return outcome == Outcome::no_copy || outcome == Outcome::too_early ||
         outcome == Outcome::not_its_turn;
}

Errc code_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::no_memory:
      return Errc::no_memory;
    case Outcome::out_of_range:
      return Errc::out_of_range;
    case Outcome::too_late:
      return Errc::invalid_argument;
    default:
      return Errc::ok;
  }
}

/// `count` x `size` + `offset` bytes lie within `bytes`; nothing overflows.
bool lies_within(std::uint64_t offset, std::uint64_t count, std::uint64_t size,
                 std::uint64_t bytes) {
  const auto end = static_cast<unsigned __int128>(count) * size + offset;
  return end <= bytes;
}

}  // namespace

bool Pushes::check(const PushOp& op, TableState& table, std::uint64_t key_bytes,
                   std::uint64_t value_bytes, Errc& wrong) const {
  const auto& geometry = table.rules->geometry();
  const bool listed = (op.flags & frame_flag::kKeyList) != 0;
  const bool burnt = (op.flags & frame_flag::kBurnt) != 0;
  const auto row_bytes = geometry.row_bytes() * op.meta.inputs;
  const auto inputs = (op.flags & frame_flag::kStore) != 0 ? 1 : table.rules->inputs();
  wrong = Errc::mismatch;
  if (!burnt && op.meta.inputs != inputs) return false;
  if (!listed && geometry.layout() == Layout::sparse) return false;
  for (const auto& run : op.runs) {
    wrong = Errc::out_of_range;
    if (run.slot.value >= geometry.slots()) return false;
    if (!listed) {
      const auto rows = geometry.rows_of(run.slot);
      if (run.row_begin < rows.begin || run.row_begin > rows.end ||
          run.row_count > rows.end - run.row_begin)
        return false;
      if (run.part_count != geometry.part_count({run.row_begin, run.row_begin + run.row_count}))
        return false;
    } else if (run.row_count > kDenseRowsMax ||
               run.part_count != geometry.part_count_of_keys(run.row_count)) {
      return false;
    }
    wrong = Errc::mismatch;
    if (run.first_q.value == 0 || run.part_count == 0) return false;
    if (burnt) continue;
    if (!lies_within(run.offset, run.row_count, row_bytes, value_bytes)) return false;
    if (listed && (run.row_begin > kDenseRowsMax ||
                   !lies_within(run.row_begin * 8, run.row_count, 8, key_bytes)))
      return false;
  }
  return true;
}

bool Pushes::handle(Peer& peer, MemberIndex member, TableState& table, const FrameView& frame) {
  ++plane_.metrics.pushes;
  const auto parsed = parse_push(frame);
  if (!parsed.ok()) return false;
  const auto& header = frame.header;
  const auto refuse = [&](Errc why) {
    plane_.answer(peer, header.request, false, header.table, why, 0, {});
    return true;
  };
  for (const auto& run : parsed->runs) {
    auto* slot = run.slot.value < table.slots.size() ? table.slots[run.slot.value].get() : nullptr;
    if (run.slot.value < table.slots.size() &&
        (slot == nullptr || slot->chain.head() != plane_.self ||
         slot->chain.since.packed() != run.since)) {
      plane_.answer_stale(peer, header.request, header.table, header.epoch);
      return true;
    }
  }
  auto* op = ops_.take();
  if (op == nullptr) return refuse(Errc::overloaded);
  op->peer = &peer;
  ++peer.ops;
  op->request = header.request;
  op->member = member;
  op->table = header.table;
  op->epoch = header.epoch;
  op->clock = header.clock;
  op->flags = header.flags;
  op->meta = parsed->prefix;
  op->runs = parsed->runs;
  op->signatures = parsed->signatures;
  const bool eager = (header.flags & (frame_flag::kBurnt | frame_flag::kRendezvous)) == 0;
  if (eager) {  // The keys come first; the runs say how many there are.
    op->meta.keys = {};
    if ((header.flags & frame_flag::kKeyList) != 0)
      for (const auto& run : op->runs)
        op->meta.keys.bytes =
            std::max(op->meta.keys.bytes,
                     std::min(run.row_begin + run.row_count, frame.header.payload_bytes) * 8);
    op->meta.values.bytes =
        frame.payload.size() - std::min(frame.payload.size(), op->meta.keys.bytes);
  }
  auto wrong = Errc::ok;
  if (!check(*op, table,
             eager ? std::min<std::uint64_t>(op->meta.keys.bytes, frame.payload.size())
                   : op->meta.keys.bytes,
             op->meta.values.bytes, wrong)) {
    free(*op);
    ++plane_.metrics.malformed;
    return refuse(wrong);
  }
  for (const auto& run : op->runs) op->part_count += run.part_count;
  op->parts_left = op->part_count + 1;  // The one more is ours, until the end of this function.
  plane_.metrics.bytes_in += frame.payload.size();
  for (std::uint32_t r = 0; r < op->runs.size(); ++r)
    take_run(*op, *table.slots[op->runs[r].slot.value], r, frame);
  if ((header.flags & frame_flag::kBurnt) != 0) outlast_reads(*op);
  --op->parts_left;
  if (op->parts_left != 0 || op->reads != 0) keep(*op);
  end_if_done(*op);
  return true;
}

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

void Pushes::take_run(PushOp& op, SlotState& slot, std::uint32_t run, const FrameView& frame) {
  for (std::uint32_t i = 0; i < op.runs[run].part_count; ++i) take_part(op, slot, run, i, frame);
  auto& source = slot.source(op.member);
  if (source.front == nullptr) return;
  look_ahead(slot, source);
  // What stands behind a parked request waits for the same.
  if (source.back->op == &op && source.front->op->parked) park(op);
}

Pushes::Piece Pushes::piece_of(const SlotState& slot, const PushOp& op, const PushRun& run,
                               std::uint32_t index) const {
  const auto& geometry = slot.rules().geometry();
  const auto row_bytes = geometry.row_bytes() * op.meta.inputs;
  Piece piece;
  piece.rows.listed = (op.flags & frame_flag::kKeyList) != 0;
  if (piece.rows.listed) {
    const auto first = index * geometry.rows_per_segment();
    const auto count = std::min(geometry.rows_per_segment(), run.row_count - first);
    piece.rows.known = false;
    piece.first_key = run.row_begin + first;
    piece.key_bytes = static_cast<std::size_t>(count * sizeof(Key));
    piece.value_offset = run.offset + first * row_bytes;
    piece.value_bytes = static_cast<std::size_t>(count * row_bytes);
  } else {
    const RowRange all{run.row_begin, run.row_begin + run.row_count};
    const SegmentIndex segment(geometry.segment_of(run.row_begin).value + index);
    piece.rows.range = all.intersect(geometry.rows_of(segment));
    piece.value_offset = run.offset + (piece.rows.range.begin - run.row_begin) * row_bytes;
    piece.value_bytes = static_cast<std::size_t>(piece.rows.range.size() * row_bytes);
  }
  return piece;
}

/// The keys in a message, copied only where the transport left them unaligned.
std::span<const Key> Pushes::eager_keys(const FrameView& frame, const Piece& piece) {
  const auto* at = frame.payload.data() + piece.first_key * sizeof(Key);
  const auto count = piece.key_bytes / sizeof(Key);
  if (reinterpret_cast<std::uintptr_t>(at) % alignof(Key) == 0)
    return {reinterpret_cast<const Key*>(at), count};
  aligned_keys_.resize(std::max(aligned_keys_.size(), count));
  std::memcpy(aligned_keys_.data(), at, piece.key_bytes);
  return {aligned_keys_.data(), count};
}

Pushes::Step Pushes::take_part(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index,
                               const FrameView& frame) {
  using Known = PushSequence::Known;
  auto& source = slot.source(op.member);
  const auto q = op.runs[run].first_q + index;
  ++op.parts_taken;
  const bool burnt = (op.flags & frame_flag::kBurnt) != 0;
  const auto known = source.sequence.classify(q);
  switch (known) {
    case Known::applied:
    case Known::burnt:
    case Known::unclear:
      ++plane_.metrics.parts_repeated;
      end_part(op, run, index,
               known == Known::burnt               ? Errc::cancelled
               : known == Known::unclear && !burnt ? Errc::timed_out
                                                   : Errc::ok);
      return Step::ended;
    case Known::gap:
      ++plane_.metrics.gaps;
      end_part(op, run, index, Errc::gap);
      return Step::ended;
    case Known::next:
    case Known::waiting:
      break;
  }
  auto piece = piece_of(slot, op, op.runs[run], index);
  if (known == Known::waiting) {
    auto* old = source.front;
    while (old->q < q) old = old->next;
    return enqueue(op, slot, run, index, piece, frame, old);
  }
  // In order, and its bytes are here: it is applied from where they stand.
  const bool bytes_here = burnt || (op.flags & frame_flag::kRendezvous) == 0;
  if (bytes_here && source.front == nullptr) {
    const std::byte* values = nullptr;
    if (!burnt) {
      values = frame.payload.data() + op.meta.keys.bytes + piece.value_offset;
      if (piece.rows.listed) {
        piece.rows.keys = eager_keys(frame, piece);
        piece.rows.known = true;
      }
    }
    const auto outcome = attempt(op, slot, piece, values);
    if (!is_held(outcome)) {
      source.sequence.accept(q);
      conclude(op, slot, run, index, q, outcome, piece.rows.count());
      return Step::ended;
    }
    hold(op, slot, outcome);
  }
  return enqueue(op, slot, run, index, piece, frame, nullptr);
}

/// Gives a part its place in the queue, the end or that of an older copy.
Pushes::Step Pushes::enqueue(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index,
                             const Piece& piece, const FrameView& frame, Part* replaced) {
  auto* part = parts_.take();
  const bool burnt = (op.flags & frame_flag::kBurnt) != 0;
  const bool eager = !burnt && (op.flags & frame_flag::kRendezvous) == 0;
  if (part != nullptr && eager) {
    part->buffer = plane_.waiting.take(piece.key_bytes + piece.value_bytes);
    if (part->buffer == nullptr) {
      parts_.give(part);
      part = nullptr;
    }
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
  part->bytes = burnt ? Part::Bytes::none : Part::Bytes::held;
  if (eager) {
    part->arena = &plane_.waiting;
    part->buffer_bytes = piece.key_bytes + piece.value_bytes;
    part->key_bytes = piece.key_bytes;
    part->bytes = Part::Bytes::here;
    if (piece.key_bytes != 0)
      std::memcpy(part->buffer, frame.payload.data() + piece.first_key * sizeof(Key),
                  piece.key_bytes);
    std::memcpy(part->buffer + piece.key_bytes,
                frame.payload.data() + op.meta.keys.bytes + piece.value_offset, piece.value_bytes);
  }
  auto& source = slot.source(op.member);
  if (replaced == nullptr) {
    source.sequence.accept(part->q);
    (source.front == nullptr ? source.front : source.back->next) = part;
    source.back = part;
    ++slot.parts_waiting;
    return Step::waits;
  }
  part->next = replaced->next;
  if (source.front == replaced) {
    source.front = part;
  } else {
    auto* before = source.front;
    while (before->next != replaced) before = before->next;
    before->next = part;
  }
  if (source.back == replaced) source.back = part;
  auto& old = *replaced->op;
  const auto old_run = replaced->run;
  const auto old_index = replaced->index;
  release(replaced);
  end_part(old, old_run, old_index, burnt ? Errc::cancelled : Errc::peer_lost);
  plane_.kick(slot);  // A burnt part at the front can go at once.
  return Step::waits;
}

Outcome Pushes::attempt(const PushOp& op, SlotState& slot, const Piece& piece,
                        const std::byte* values) {
  const bool store = (op.flags & frame_flag::kStore) != 0;
  if ((op.flags & frame_flag::kBurnt) != 0) {
    if (store) return Outcome::applied;  // No contribution, so none without data either.
    const auto outcome = slot.admits(op.member, op.clock, plane_.global_clock, piece.rows);
    if (outcome == Outcome::too_late) return Outcome::applied;  // Nothing is left to count.
    return outcome == Outcome::applied ? slot.burn(op.member, op.clock, piece.rows) : outcome;
  }
  if (store) return slot.store(piece.rows, values);
  const auto outcome = slot.admits(op.member, op.clock, plane_.global_clock, piece.rows);
  if (outcome != Outcome::applied) return outcome;
  return slot.apply(op.member, op.clock, plane_.global_clock, piece.rows, values);
}

void Pushes::conclude(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index,
                      Sequence q, Outcome outcome, std::uint64_t rows) {
  const bool burnt = (op.flags & frame_flag::kBurnt) != 0;
  const bool applied = outcome == Outcome::applied && !burnt;
  slot.source(op.member).sequence.finish(q, !applied);
  ++slot.log_position;
  if (applied) {
    ++plane_.metrics.parts_applied;
    plane_.metrics.rows_applied += rows;
  } else if (burnt) {
    ++plane_.metrics.parts_burnt;
  }
  if (slot.has_folds_waiting()) plane_.wait_for_copy(slot);
  if (!slot.pulls_waiting.empty() || (slot.rules().spec().deterministic && slot.parts_waiting != 0))
    plane_.kick(slot);
  end_part(op, run, index, burnt ? Errc::cancelled : code_of(outcome));
}

void Pushes::hold(PushOp& op, SlotState& slot, Outcome outcome) {
  if (outcome == Outcome::no_copy)
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

/// Applies what is next and here; of READ bytes one part, so that messages are served in between.
void Pushes::advance(SlotState& slot, PushSource& source) {
  bool applied_landed = false;
  while (auto* part = source.front) {
    if (part->bytes == Part::Bytes::here && part->arena == &plane_.landing) {
      if (applied_landed) {
        if (!landed_.contains(part)) landed_.push_back(part);
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
  if (part->bytes != Part::Bytes::here && part->bytes != Part::Bytes::none) return Step::waits;
  auto& op = *part->op;
  auto piece = piece_of(slot, op, op.runs[part->run], part->index);
  if (piece.rows.listed && part->buffer != nullptr && !name_rows(*part, piece)) {
    refetch(*part);
    return Step::waits;
  }
  const auto* values = part->buffer != nullptr ? part->buffer + part->key_bytes : nullptr;
  const auto outcome = attempt(op, slot, piece, values);
  if (is_held(outcome)) {
    hold(op, slot, outcome);
    return Step::waits;
  }
  if (outcome == Outcome::applied && part->key_bytes != 0 && !op.signatures.empty())
    plane_.lists.put(slot, op.signatures[part->number], piece.rows.keys);
  source.front = part->next;
  if (source.front == nullptr) source.back = nullptr;
  --slot.parts_waiting;
  const auto run = part->run;
  const auto index = part->index;
  const auto q = part->q;
  release(part);
  conclude(op, slot, run, index, q, outcome, piece.rows.count());
  return Step::ended;
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
  return list.known();
}

/// Once more, with the keys.
void Pushes::refetch(Part& part) {
  landed_.erase_if_linked(&part);
  part.arena->give(part.buffer, part.buffer_bytes);
  part.buffer = nullptr;
  part.bytes = Part::Bytes::held;
  part.needs_keys = true;
  want(part);
}

/// Asks for the bytes of the first parts, up to one that could not be applied yet: what has landed
/// can always be applied once those before it have, so landing memory comes back.
void Pushes::look_ahead(SlotState& slot, PushSource& source) {
  auto ahead = 2 * plane_.limits.reads_per_peer;
  for (auto* part = source.front; part != nullptr && ahead > 0; part = part->next, --ahead) {
    if (part->bytes == Part::Bytes::none) continue;
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
  part.bytes = Part::Bytes::wanted;
  peer.wants.push_back(&part);
  if (!readers_.contains(&peer)) readers_.push_back(&peer);
}

bool Pushes::start_reads() {
  bool posted = false;
  for (bool progress = true; progress;) {
    progress = false;
    for (auto turns = readers_.size(); turns > 0; --turns) {
      auto* peer = readers_.pop_front();
      if (peer->wants.empty()) continue;
      // At its limit it stays in line: the reads under way may be those of its pulls' keys, whose
      // end nobody tells here.
      if (peer->reads < plane_.limits.reads_per_peer) progress |= post_reads(*peer->wants.front());
      if (!peer->wants.empty()) readers_.push_back(peer);
    }
    posted |= progress;
  }
  return posted;
}

bool Pushes::post_reads(Part& part) {
  auto& op = *part.op;
  auto& peer = *op.peer;
  const auto piece = piece_of(*part.slot, op, op.runs[part.run], part.index);
  const bool listed_here =
      !op.signatures.empty() && !part.needs_keys &&
      plane_.lists.find(*part.slot, op.signatures[part.number], piece.key_bytes / sizeof(Key))
          .known();
  part.key_bytes = listed_here ? 0 : piece.key_bytes;
  part.buffer_bytes = part.key_bytes + piece.value_bytes;
  part.buffer = plane_.landing.take(part.buffer_bytes);
  if (part.buffer == nullptr) return false;
  part.arena = &plane_.landing;
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
    plane_.landing.give(part.buffer, part.buffer_bytes);
    part.buffer = nullptr;
    return false;
  }
  peer.wants.erase(&part);
  part.bytes = Part::Bytes::reading;
  ++op.reads;
  ++peer.reads;
  ++plane_.metrics.reads;
  return true;
}

void Pushes::read_done(std::uint64_t index, Errc status) {
  auto& part = parts_.at(index);
  if (status != Errc::ok && part.failed != Errc::revoked) part.failed = status;
  if (--part.reads_left > 0) return;
  auto& op = *part.op;
  auto& peer = *op.peer;
  --op.reads;
  --peer.reads;
  if (!peer.gone && !peer.wants.empty() && !readers_.contains(&peer)) readers_.push_back(&peer);
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
    landed_.push_back(&part);
    return;
  }
  plane_.landing.give(part.buffer, part.buffer_bytes);
  part.buffer = nullptr;
  const auto failed = std::exchange(part.failed, Errc::ok);
  part.bytes = Part::Bytes::held;
  if (failed == Errc::overloaded) return want(part);
  // The worker took its memory back: the part cannot come. Of a connection that broke, its end
  // follows and drops all.
  if (failed == Errc::revoked)
    unqueue_all(*part.slot, part.slot->source(part.member), &part, Errc::revoked, &peer);
}

bool Pushes::apply_landed() {
  auto* part = landed_.pop_front();
  if (part == nullptr) return false;
  advance(*part->slot, part->slot->source(part->member));
  return true;
}

/// Takes a part out of all lists but its source's queue; it is gone, or will be when its READ ends.
void Pushes::release(Part* part) {
  landed_.erase_if_linked(part);
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

void Pushes::drop(Peer& peer) {
  readers_.erase_if_linked(&peer);
  while (auto* op = peer.pushes.front()) {
    peer.pushes.erase(op);
    if (finished_.contains(op)) {
      finished_.erase(op);
      free(*op);
      continue;
    }
    ++op->parts_left;  // Ours, so that it stays to the end of this.
    auto* table = plane_.shard.find(op->table);
    for (std::size_t r = 0; table != nullptr && r < op->runs.size(); ++r) {
      const auto index = op->runs[r].slot.value;
      auto* slot = index < table->slots.size() ? table->slots[index].get() : nullptr;
      if (slot == nullptr) continue;
      auto& source = slot->source(op->member);
      auto* part = source.front;
      while (part != nullptr && part->op->peer != &peer) part = part->next;
      if (part != nullptr) unqueue_all(*slot, source, part, Errc::peer_lost, &peer);
    }
    --op->parts_left;
    end_if_done(*op);
  }
  if (!faults_.forget_last) return;
  const auto member = plane_.shard.members().find(peer.node);
  if (member == Members::kNone) return;
  plane_.shard.for_each_slot([&](SlotState& slot) {
    if (slot.source(member).front == nullptr) slot.source(member).sequence.forget();
  });
}

void Pushes::drop(MemberIndex member) {
  plane_.shard.for_each_slot([&](SlotState& slot) {
    auto& source = slot.source(member);
    if (source.front != nullptr) unqueue_all(slot, source, source.front, Errc::fenced, nullptr);
  });
}

void Pushes::drop(SlotState& slot, Errc why) {
  for (auto& source : slot.sources())
    if (source.front != nullptr) unqueue_all(slot, source, source.front, why, nullptr);
}

void Pushes::end_part(PushOp& op, std::uint32_t run, std::uint32_t index, Errc code) {
  if (code != Errc::ok || !op.codes.empty()) {
    if (op.codes.empty()) op.codes.assign(op.part_count, 0);
    auto at = index;
    for (std::uint32_t r = 0; r < run; ++r) at += op.runs[r].part_count;
    op.codes[at] = static_cast<std::uint16_t>(code);
  }
  --op.parts_left;
  end_if_done(op);
}

void Pushes::end_if_done(PushOp& op) {
  if (op.parts_left != 0 || op.reads != 0) return;
  if (plane_.silent && !op.peer->gone) {
    if (!op.peer->pushes.contains(&op)) keep(op);
    return finished_.push_back(&op);
  }
  const bool same =
      std::adjacent_find(op.codes.begin(), op.codes.end(), std::not_equal_to<>()) == op.codes.end();
  const auto bad =
      std::find_if(op.codes.begin(), op.codes.end(), [](std::uint16_t code) { return code != 0; });
  const auto status = bad == op.codes.end() ? Errc::ok : static_cast<Errc>(*bad);
  plane_.answer(*op.peer, op.request, op.parked, op.table, status,
                status == Errc::ok ? frame_flag::kAllApplied : std::uint16_t{0},
                same ? std::span<const std::uint16_t>{} : op.codes);
  op.peer->pushes.erase_if_linked(&op);
  free(op);
}

void Pushes::free(PushOp& op) {
  --op.peer->ops;
  ops_.give(&op);
}

void Pushes::keep(PushOp& op) {
  op.kept.assign(op.runs.begin(), op.runs.end());
  op.runs = op.kept;
  op.kept_signatures.assign(op.signatures.begin(), op.signatures.end());
  op.signatures = op.kept_signatures;
  op.peer->pushes.push_back(&op);
}

void Pushes::answer_finished() {
  while (auto* op = finished_.pop_front()) end_if_done(*op);
}

}  // namespace shoal
