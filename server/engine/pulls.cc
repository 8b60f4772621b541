#include "server/engine/pulls.h"

#include <algorithm>
#include <cstring>

namespace shoal {

Errc Pulls::check(const PullOp& op, const TableState& table, const FrameView& frame) const {
  const auto& geometry = table.rules->geometry();
  const auto row_bytes = geometry.row_bytes();
  if (!op.listed() && geometry.layout() == Layout::sparse) return Errc::mismatch;
  const std::uint64_t key_bytes =
      op.meta.keys.bytes != 0 ? op.meta.keys.bytes : frame.payload.size();
  const std::uint64_t room = op.inlined() ? kEagerBytesMax : op.meta.destination.bytes;
  for (const auto& run : op.runs) {
    if (run.row_count == 0 || run.row_count > kDenseRowsMax) return Errc::out_of_range;
    if (run.offset % byte_size(table.rules->spec().dtype) != 0) return Errc::mismatch;
    if (static_cast<unsigned __int128>(run.row_count) * row_bytes + run.offset > room)
      return Errc::mismatch;
    if (op.listed()) {
      if (run.row_begin > kDenseRowsMax || (run.row_begin + run.row_count) * 8 > key_bytes)
        return Errc::mismatch;
      if (run.part_count != geometry.part_count_of_keys(run.row_count)) return Errc::out_of_range;
      continue;
    }
    const auto rows = geometry.rows_of(run.slot);
    if (run.row_begin < rows.begin || run.row_begin > rows.end ||
        run.row_count > rows.end - run.row_begin ||
        run.part_count != geometry.part_count({run.row_begin, run.row_begin + run.row_count}))
      return Errc::out_of_range;
  }
  return Errc::ok;
}

bool Pulls::handle(Peer& peer, MemberIndex member, bool observer, TableState& table,
                   const FrameView& frame) {
  ++plane_.metrics.pulls;
  const auto parsed = parse_pull(frame);
  if (!parsed.ok()) return false;
  const auto& header = frame.header;
  const auto refuse = [&](Errc why) {
    plane_.answer(peer, header.request, false, header.table, why, 0, {});
    return true;
  };
  for (const auto& run : parsed->runs) {
    if (run.slot.value >= table.slots.size()) return refuse(Errc::out_of_range);
    const auto* slot = table.slots[run.slot.value].get();
    if (slot == nullptr || slot->chain.tail() != plane_.self ||
        slot->chain.since.packed() != run.since) {
      plane_.answer_stale(peer, header.request, header.table, header.epoch);
      return true;
    }
  }
  auto* op = ops_.take();
  if (op == nullptr) return refuse(Errc::overloaded);
  begin(*op, peer, header, *parsed);
  op->member = member;
  op->observer = observer;
  if (const auto wrong = check(*op, table, frame); wrong != Errc::ok) {
    ++plane_.metrics.malformed;
    forget(*op);
    return refuse(wrong);
  }
  peer.pulls.push_back(op);
  plane_.metrics.bytes_in += frame.payload.size();
  if (op->listed() && op->meta.keys.bytes == 0)
    proceed_with_keys(*op, frame.payload);
  else
    proceed(*op);
  return true;
}

void Pulls::begin(PullOp& op, Peer& peer, const FrameHeader& header, const PullParts& parts) {
  op.peer = &peer;
  ++peer.ops;
  all_.push_back(&op);
  op.request = header.request;
  op.table = header.table;
  op.epoch = header.epoch;
  op.flags = header.flags;
  op.times.received = plane_.trace.received;
  op.meta = parts.prefix;
  op.runs.assign(parts.runs.begin(), parts.runs.end());
  op.signatures.assign(parts.signatures.begin(), parts.signatures.end());
  op.deadline =
      deadline_after(plane_.now, Duration(static_cast<std::int64_t>(std::min<std::uint64_t>(
                                     op.meta.time_left, Duration::max().count()))));
}

/// The keys came with the request. A small answer is often made at once, from the keys as they
/// stand in the message; else they are kept.
void Pulls::proceed_with_keys(PullOp& op, std::span<const std::byte> keys) {
  auto& peer = *op.peer;
  if (op.inlined()) {
    op.eager_keys = keys.data();
    op.keys_bytes = keys.size();
    const auto id = op.request;
    proceed(op);
    if (op.peer != &peer || op.request != id || !peer.pulls.contains(&op)) return;
  }
  op.keys = plane_.waiting.take(keys.size());
  if (op.keys == nullptr) return end(op, Errc::overloaded);
  std::memcpy(op.keys, keys.data(), keys.size());
  op.keys_bytes = keys.size();
  op.eager_keys = op.keys;
  if (!op.inlined()) proceed(op);  // Else it waits already.
}

SlotState* Pulls::slot_of(const PullOp& op, std::uint32_t run) const {
  auto* table = plane_.shard.find(op.table);
  return table != nullptr && op.runs[run].slot.value < table->slots.size()
             ? table->slots[op.runs[run].slot.value].get()
             : nullptr;
}

Pulls::Piece Pulls::piece_of(const SlotState& slot, const PullOp& op, std::uint32_t r,
                             std::uint32_t index) const {
  const auto& geometry = slot.rules().geometry();
  const auto& run = op.runs[r];
  Piece piece;
  piece.rows.listed = op.listed();
  if (piece.rows.listed) {
    const auto first = index * geometry.rows_per_segment();
    const auto count = std::min(geometry.rows_per_segment(), run.row_count - first);
    piece.rows.known = false;
    piece.first_key = run.row_begin + first;
    piece.key_bytes = static_cast<std::size_t>(count * sizeof(Key));
    piece.offset = run.offset + first * geometry.row_bytes();
    piece.bytes = static_cast<std::size_t>(count * geometry.row_bytes());
  } else {
    const RowRange all{run.row_begin, run.row_begin + run.row_count};
    piece.rows.range =
        all.intersect(geometry.rows_of(SegmentIndex(geometry.segment_of(all.begin).value + index)));
    piece.offset = run.offset + (piece.rows.range.begin - run.row_begin) * geometry.row_bytes();
    piece.bytes = static_cast<std::size_t>(piece.rows.range.size() * geometry.row_bytes());
  }
  return piece;
}

bool Pulls::gate_open(const PullOp& op, const TableRules& rules) const {
  if (plane_.silent) return false;
  // A collective segment's version may be ahead of G: it is asked for itself, part by part.
  return op.observer || rules.apply() == Apply::collective || plane_.global_clock >= op.meta.need;
}

void Pulls::proceed(PullOp& op) {
  stop_waiting(op);
  if (op.ended != Errc::ok) return end(op, op.ended);
  auto* table = plane_.shard.find(op.table);
  SHOAL_ASSERT(table != nullptr && table->rules != nullptr, "a pull outlived its table");
  if (!gate_open(op, *table->rules)) return wait_at_gate(op);
  if (op.inlined() && (!op.listed() || op.eager_keys != nullptr)) return answer_inline(op);
  auto& peer = *op.peer;
  peer.sends.push_back(&op);
  if (!writers_.contains(&peer) && peer.pins < plane_.limits.pins_per_peer)
    writers_.push_back(&peer);
}

bool Pulls::admit(PullOp& op, SlotState& slot, const Piece& piece, std::uint32_t run) {
  const auto after = op.runs[run].after;
  if (after.value != 0 && op.member != Members::kNone &&
      slot.source(op.member).sequence.last() < after) {
    wait_on(op, slot);
    return false;
  }
  // Keys that are not here yet: by the slot's oldest segment.
  if (slot.bring_up_to(plane_.global_clock, piece.rows) != Outcome::applied) {
    plane_.wait_for_copy(slot);
    wait_on(op, slot);
    return false;
  }
  if (slot.rules().apply() == Apply::collective && !op.observer &&
      slot.version(piece.rows, plane_.global_clock) < op.meta.need) {
    wait_on(op, slot);
    return false;
  }
  plane_.trace.admitted(op.times);
  return true;
}

void Pulls::park(PullOp& op) {
  if (!timed_.contains(&op) && op.deadline != kNever) {
    timed_.push_back(&op);
    next_deadline_ = std::min(next_deadline_, op.deadline);
  }
  if (op.parked || op.peer->gone) return;
  op.parked = plane_.sessions.park(op.peer->endpoint, plane_.global_clock);
  if (op.parked) ++plane_.metrics.parked;
}

void Pulls::wait_at_gate(PullOp& op) {
  op.at_gate = true;
  gate_.push_back(&op);
  park(op);
}

void Pulls::wait_on(PullOp& op, SlotState& slot) {
  op.peer->sends.erase_if_linked(&op);
  op.waits_on = &slot;
  slot.pulls_waiting.push_back(&op);
  park(op);
}

void Pulls::stop_waiting(PullOp& op) {
  if (op.at_gate) gate_.erase(&op);
  if (op.waits_on != nullptr) op.waits_on->pulls_waiting.erase(&op);
  op.at_gate = false;
  op.waits_on = nullptr;
  timed_.erase_if_linked(&op);
}

void Pulls::advance(SlotState& slot) {
  // Those that wait again go to the end, so each has one turn.
  for (auto turns = slot.pulls_waiting.size(); turns > 0; --turns)
    if (auto* op = slot.pulls_waiting.front()) proceed(*op);
}

void Pulls::open_gate() {
  for (auto turns = gate_.size(); turns > 0; --turns)
    if (auto* op = gate_.front()) proceed(*op);
}

void Pulls::cancel(Peer& peer, RequestId request) {
  auto* op = peer.pulls.front();
  while (op != nullptr && op->request != request) op = peer.pulls.next(op);
  if (op != nullptr) end(*op, Errc::cancelled);
}

void Pulls::expire() {
  if (plane_.now < next_deadline_) return;
  next_deadline_ = kNever;
  for (auto* op = timed_.front(); op != nullptr;) {
    auto* next = timed_.next(op);
    if (op->deadline <= plane_.now) {
      ++plane_.metrics.timed_out;
      end(*op, Errc::timed_out);
    } else {
      next_deadline_ = std::min(next_deadline_, op->deadline);
    }
    op = next;
  }
}

TimePoint Pulls::next_timer() const {
  auto next = timed_.empty() ? kNever : next_deadline_;
  if (const auto* oldest = awaited_write(); oldest != nullptr && !oldest->peer->gone)
    next = std::min(next, stalls_at(*oldest));
  return next;
}

/// For messages to people: whom the part that a pull has got to waits for, where that is known here
/// and not by G.
NodeId Pulls::awaited(const PullOp& op) {
  if (op.run >= op.runs.size()) return {};
  const auto* slot = slot_of(op, op.run);
  if (slot == nullptr) return {};
  auto piece = piece_of(*slot, op, op.run, op.index);
  if (piece.rows.listed && op.eager_keys != nullptr)
    piece.rows.keys = aligned(op.eager_keys + piece.first_key * sizeof(Key), piece.key_bytes);
  return slot->awaited(piece.rows, op.meta.need);
}

/// Ends a pull, once nothing of it is under way.
void Pulls::end(PullOp& op, Errc status) {
  stop_waiting(op);
  op.peer->sends.erase_if_linked(&op);
  if (op.in_flight != 0) {
    op.ended = status;
    return;
  }
  end_now(op, status, {});
}

void Pulls::end_now(PullOp& op, Errc status, std::span<const ConstMemoryView> payload) {
  stop_waiting(op);
  if (!op.peer->gone) {
    auto prefix = plane_.answer_meta();
    if (status == Errc::ok) {
      prefix.oldest = op.oldest;
      prefix.newest = op.newest;
    } else if (status == Errc::timed_out || status == Errc::cancelled) {
      if (const auto worker = awaited(op); worker.value != 0) prefix.holder = worker;
    }
    if (status == Errc::overloaded) ++plane_.metrics.overloaded;
    const bool written = !op.inlined();
    const auto flags =
        status == Errc::ok && written ? frame_flag::kPayloadWritten : std::uint16_t{0};
    // Behind the bulk bytes if there are any, also when it fails: what was posted lands before it.
    (void)plane_.sessions.answer(
        op.peer->endpoint, op.request, plane_.answer_header(op.table, status, flags),
        std::as_bytes(std::span(&prefix, 1)), payload,
        {.lane = written ? Lane::bulk : Lane::message, .copy_payload = true}, op.parked);
    plane_.trace.answered(
        op, "pull", status,
        written || payload.empty() ? op.meta.destination.bytes : payload.front().bytes);
  }
  forget(op);
}

void Pulls::forget(PullOp& op) {
  if (op.keys != nullptr) plane_.waiting.give(op.keys, op.keys_bytes);
  op.peer->sends.erase_if_linked(&op);
  op.peer->pulls.erase_if_linked(&op);
  all_.erase(&op);
  --op.peer->ops;
  ops_.give(&op);
}

void Pulls::drop(Peer& peer) {
  writers_.erase_if_linked(&peer);
  while (auto* op = peer.pulls.front()) {
    peer.pulls.erase(op);
    end(*op, Errc::peer_lost);  // Nobody hears it; what is in flight comes back first.
  }
}

template <class F>
void Pulls::end_those(F&& concerned, Errc why) {
  for (auto* op = all_.front(); op != nullptr;) {
    auto* next = all_.next(op);
    if (op->ended == Errc::ok && concerned(*op)) end(*op, why);
    op = next;
  }
}

void Pulls::drop(MemberIndex member) {
  end_those([&](const PullOp& op) { return op.member == member; }, Errc::fenced);
}

void Pulls::drop(SlotState& slot, Errc why) {
  end_those(
      [&](const PullOp& op) {
        return op.table == slot.rules().id() &&
               std::any_of(op.runs.begin(), op.runs.end(),
                           [&](const PullRun& run) { return run.slot == slot.index(); });
      },
      why);
}

}  // namespace shoal
