#include "server/engine/pushes.h"

#include <algorithm>
#include <cstring>

namespace shoal {

namespace {

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

const char* traced_name(const PushOp& op) {
  if ((op.flags & frame_flag::kBurnt) != 0) return "burn";
  return (op.flags & frame_flag::kStore) != 0 ? "store" : "push";
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

/// Until `keep`, what is in the frame stays there.
void Pushes::begin(PushOp& op, Peer& peer, const FrameView& frame, const PushParts& parts) {
  const auto& header = frame.header;
  op.peer = &peer;
  ++peer.ops;
  op.request = header.request;
  op.table = header.table;
  op.epoch = header.epoch;
  op.clock = header.clock;
  op.flags = header.flags;
  op.times.received = plane_.trace.received;
  op.meta = parts.prefix;
  op.runs = parts.runs;
  op.signatures = parts.signatures;
  if ((header.flags & (frame_flag::kBurnt | frame_flag::kRendezvous)) != 0) return;
  // The keys come first; the runs say how many there are.
  op.meta.keys = {};
  if ((header.flags & frame_flag::kKeyList) != 0)
    for (const auto& run : op.runs)
      op.meta.keys.bytes = std::max(
          op.meta.keys.bytes, std::min(run.row_begin + run.row_count, header.payload_bytes) * 8);
  op.meta.values.bytes = frame.payload.size() - std::min(frame.payload.size(), op.meta.keys.bytes);
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
  begin(*op, peer, frame, *parsed);
  op->member = member;
  const bool eager = (header.flags & (frame_flag::kBurnt | frame_flag::kRendezvous)) == 0;
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

void Pushes::take_run(PushOp& op, SlotState& slot, std::uint32_t run, const FrameView& frame) {
  for (std::uint32_t i = 0; i < op.runs[run].part_count; ++i) take_part(op, slot, run, i, frame);
  auto& source = slot.source(op.member);
  if (plane_.shard.late()) advance(slot, source);
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
  // A device would read them there when the message has gone.
  const bool to_keep = plane_.shard.late() && !burnt;
  if (bytes_here && source.front == nullptr && !to_keep) {
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

Outcome Pushes::attempt(PushOp& op, SlotState& slot, const Piece& piece, const std::byte* values) {
  const auto began = plane_.trace.now();
  const auto outcome = apply(op, slot, piece, values);
  if (!is_held(outcome)) plane_.trace.applied(op, began, piece.value_bytes);
  return outcome;
}

Outcome Pushes::apply(const PushOp& op, SlotState& slot, const Piece& piece,
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

Errc Pushes::finish(PushOp& op, SlotState& slot, Sequence q, Outcome outcome, std::uint64_t rows) {
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
  return burnt ? Errc::cancelled : code_of(outcome);
}

void Pushes::conclude(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index,
                      Sequence q, Outcome outcome, std::uint64_t rows) {
  end_part(op, run, index, finish(op, slot, q, outcome, rows));
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
  plane_.trace.answered(op, traced_name(op), status, op.meta.values.bytes);
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
