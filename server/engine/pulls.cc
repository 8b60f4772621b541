#include "server/engine/pulls.h"

#include <algorithm>
#include <cstring>

namespace shoal {

static_assert(kEagerBytesMax <= Transport::kCopyMax, "an answer's rows are copied");

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
  op->peer = &peer;
  ++peer.ops;
  all_.push_back(op);
  op->request = header.request;
  op->member = member;
  op->table = header.table;
  op->epoch = header.epoch;
  op->flags = header.flags;
  op->observer = observer;
  op->meta = parsed->prefix;
  op->runs.assign(parsed->runs.begin(), parsed->runs.end());
  op->signatures.assign(parsed->signatures.begin(), parsed->signatures.end());
  if (const auto wrong = check(*op, table, frame); wrong != Errc::ok) {
    ++plane_.metrics.malformed;
    forget(*op);
    return refuse(wrong);
  }
  op->deadline =
      deadline_after(plane_.now, Duration(static_cast<std::int64_t>(std::min<std::uint64_t>(
                                     op->meta.time_left, Duration::max().count()))));
  peer.pulls.push_back(op);
  plane_.metrics.bytes_in += frame.payload.size();
  const bool keys_here = op->listed() && op->meta.keys.bytes == 0;
  if (keys_here && op->inlined()) {  // Often answered at once, from the keys as they stand.
    op->eager_keys = frame.payload.data();
    op->keys_bytes = frame.payload.size();
    const auto id = op->request;
    proceed(*op);
    if (op->peer != &peer || op->request != id || !peer.pulls.contains(op)) return true;
  }
  if (keys_here) {
    op->keys = plane_.waiting.take(frame.payload.size());
    if (op->keys == nullptr) {
      end(*op, Errc::overloaded);
      return true;
    }
    std::memcpy(op->keys, frame.payload.data(), frame.payload.size());
    op->keys_bytes = frame.payload.size();
    op->eager_keys = op->keys;
    if (op->inlined()) return true;  // Waits already.
  }
  proceed(*op);
  return true;
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

std::span<const Key> Pulls::aligned(const std::byte* keys, std::size_t bytes) {
  const auto count = bytes / sizeof(Key);
  if (reinterpret_cast<std::uintptr_t>(keys) % alignof(Key) == 0)
    return {reinterpret_cast<const Key*>(keys), count};
  aligned_keys_.resize(std::max(aligned_keys_.size(), count));
  std::memcpy(aligned_keys_.data(), keys, bytes);
  return {aligned_keys_.data(), count};
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

void Pulls::note_version(PullOp& op, WorkerClock version) {
  op.oldest = std::min(op.oldest, version);
  op.newest = std::max(op.newest, version);
}

void Pulls::move_on(PullOp& op) {
  ++op.number;
  if (++op.index < op.runs[op.run].part_count) return;
  op.index = 0;
  ++op.run;
}

bool Pulls::send() {
  rows_short_ = tickets_short_ = false;  // Who lacks some says so again.
  if (plane_.silent) return false;
  const bool gathered = gather_landed();
  return send_parts() || gathered;
}

bool Pulls::send_parts() {
  constexpr std::uint32_t kPartsPerTurn = 16;  // Messages are served in between; a part that is
  constexpr std::uint32_t kListedParts = 8;    // gathered counts as so many that are only sent.
  std::uint32_t sent = 0;
  for (bool progress = true; progress && sent < kPartsPerTurn;) {
    progress = false;
    for (auto turns = writers_.size(); turns > 0; --turns) {
      auto* peer = writers_.pop_front();
      auto* op = peer->sends.front();
      if (op == nullptr || peer->pins >= plane_.limits.pins_per_peer) continue;
      const auto cost = op->listed() ? kListedParts : 1;
      if (send_next(*op) != Step::busy) {
        progress = true;
        sent += cost;
      }
      if (!peer->sends.empty()) writers_.push_back(peer);
    }
  }
  return sent > 0;
}

/// Sends a request's next part, and answers it after its last.
Pulls::Step Pulls::send_next(PullOp& op) {
  if (op.listed() && op.inlined() && op.eager_keys == nullptr) return fetch_keys(op);
  if (op.ended == Errc::ok && op.run < op.runs.size()) {
    auto& slot = *slot_of(op, op.run);
    auto piece = piece_of(slot, op, op.run, op.index);
    const bool keys_here = op.eager_keys != nullptr;
    if (piece.rows.listed && keys_here) {
      piece.rows.keys = aligned(op.eager_keys + piece.first_key * sizeof(Key), piece.key_bytes);
      piece.rows.known = true;
    } else if (!op.signatures.empty()) {
      const auto list =
          plane_.lists.find(slot, op.signatures[op.number], piece.key_bytes / sizeof(Key));
      piece.rows.keys = list.keys;
      piece.rows.positions = list.positions;
      piece.rows.known = list.known();
    }
    if (!admit(op, slot, piece, op.run)) return Step::waits;
    const auto step = !piece.rows.listed ? send_range(op, slot, piece)
                      : piece.rows.known ? send_list(op, slot, piece)
                                         : read_keys(op, piece);
    if (step != Step::sent) return step;
    move_on(op);
  }
  if (op.ended == Errc::ok && op.run < op.runs.size()) return Step::sent;
  op.peer->sends.erase(&op);
  if (op.in_flight == 0) end(op, op.ended);
  return Step::sent;
}

bool Pulls::write(PullOp& op, ConstMemoryView from, const Piece& piece, WriteTicket& ticket) {
  const auto& to = op.meta.destination;
  const auto status = plane_.transport.write(
      op.peer->endpoint, from, {to.region, to.address + piece.offset, piece.bytes},
      std::uint64_t{ticket.pool_index} << kTagBits | kWriteTag);
  if (!status.ok()) return false;
  ticket.peer = op.peer;
  ticket.posted = plane_.now;
  writes_of(ticket).push_back(&ticket);
  ++op.peer->pins;
  ++plane_.metrics.writes;
  plane_.metrics.bytes_out += piece.bytes;
  plane_.metrics.rows_pulled += piece.rows.count();
  return true;
}

WriteTicket* Pulls::take_ticket() {
  auto* ticket = tickets_.take();
  tickets_short_ = tickets_short_ || ticket == nullptr;
  return ticket;
}

/// From the segment's own memory: pinned until the WRITE has left.
Pulls::Step Pulls::send_range(PullOp& op, SlotState& slot, const Piece& piece) {
  auto* ticket = take_ticket();
  if (ticket == nullptr) return Step::busy;
  std::size_t offset = 0;
  const auto snapshot = slot.pin(piece.rows.range, offset);
  ticket->memory = snapshot.memory;
  if (!write(op, {snapshot.memory->data + offset, piece.bytes}, piece, *ticket)) {
    tickets_.give(ticket);
    auto context = plane_.shard.context();
    if (unpin(context, *snapshot.memory)) plane_.copies_freed();
    return Step::busy;
  }
  note_version(op, slot.version(piece.rows, plane_.global_clock));
  return Step::sent;
}

Pulls::Step Pulls::send_list(PullOp& op, SlotState& slot, const Piece& piece) {
  auto* ticket = take_ticket();
  if (ticket == nullptr) return Step::busy;
  auto* rows = plane_.gathered.take(piece.bytes);
  if (rows == nullptr) {
    rows_short_ = true;
    tickets_.give(ticket);
    return Step::busy;
  }
  if (slot.gather(piece.rows, rows) != Outcome::applied) {
    op.ended = Errc::out_of_range;  // A key that is not this slot's.
  } else {
    ticket->gathered = rows;
    ticket->gathered_bytes = piece.bytes;
    if (write(op, {rows, piece.bytes}, piece, *ticket)) {
      note_version(op, slot.version(piece.rows, plane_.global_clock));
      return Step::sent;
    }
  }
  tickets_.give(ticket);
  plane_.gathered.give(rows, piece.bytes);
  return op.ended != Errc::ok ? Step::sent : Step::busy;
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
  if (op.peer->reads >= plane_.limits.reads_per_peer) return Step::busy;
  auto* part = parts_.take();
  if (part == nullptr) return Step::busy;
  part->run = op.run;
  part->index = op.index;
  part->number = op.number;
  part->buffer = plane_.landing.take(piece.key_bytes);
  part->buffer_bytes = piece.key_bytes;
  if (part->buffer != nullptr &&
      post_key_read(op, *part, part->buffer, piece.first_key, piece.key_bytes))
    return Step::sent;
  if (part->buffer != nullptr) plane_.landing.give(part->buffer, piece.key_bytes);
  parts_.give(part);
  return Step::busy;
}

/// The keys of a small answer: all of them are fetched before it is made, a run at a time.
Pulls::Step Pulls::fetch_keys(PullOp& op) {
  if (op.peer->reads >= plane_.limits.reads_per_peer) return Step::busy;
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
  --part.op->peer->reads;
  part.failed = status;
  plane_.metrics.bytes_in += part.buffer_bytes;
  landed_.push_back(&part);
}

bool Pulls::gather_landed() {
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
    if (op.ended != Errc::ok || peer.gone)
      end(op, op.ended);
    else if (op.run == op.runs.size())
      keys_fetched(op);
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
    if (op.ended == Errc::ok && !op.signatures.empty())
      plane_.lists.put(slot, op.signatures[part->number], piece.rows.keys);
  }
  landed_.erase(part);
  plane_.landing.give(part->buffer, part->buffer_bytes);
  parts_.give(part);
  --op.in_flight;
  const bool more = op.ended == Errc::ok && op.run < op.runs.size();
  if (op.in_flight == 0 && (!more || peer.gone)) end(op, op.ended);
  if (!peer.gone && !peer.sends.empty() && !writers_.contains(&peer)) writers_.push_back(&peer);
  return true;
}

void Pulls::write_done(std::uint64_t index) {
  auto& ticket = tickets_.at(index);
  // A WRITE that failed did so because its reader is gone or has taken its memory back.
  auto& peer = *ticket.peer;
  --peer.pins;
  peer.moved = plane_.now;
  writes_of(ticket).erase(&ticket);
  if (ticket.memory != nullptr) {
    auto context = plane_.shard.context();
    const bool last = ticket.memory->pins == 1;
    if (unpin(context, *ticket.memory) || last) plane_.copies_freed();
  } else {
    plane_.gathered.give(ticket.gathered, ticket.gathered_bytes);
  }
  tickets_.give(&ticket);
  if (!peer.gone && !peer.sends.empty() && !writers_.contains(&peer)) writers_.push_back(&peer);
}

/// Small answers carry their rows: all parts must be admitted at once.
void Pulls::answer_inline(PullOp& op) {
  std::size_t bytes = 0;
  for (op.run = 0; op.run < op.runs.size(); ++op.run) {
    auto& slot = *slot_of(op, op.run);
    for (op.index = 0; op.index < op.runs[op.run].part_count; ++op.index) {
      auto piece = piece_of(slot, op, op.run, op.index);
      if (piece.rows.listed) {
        piece.rows.keys = aligned(op.eager_keys + piece.first_key * sizeof(Key), piece.key_bytes);
        piece.rows.known = true;
      }
      if (!admit(op, slot, piece, op.run)) return;
      bytes = std::max(bytes, static_cast<std::size_t>(piece.offset + piece.bytes));
    }
  }
  auto* const rows = inline_rows_.data();
  auto status = Errc::ok;
  for (std::uint32_t run = 0; run < op.runs.size(); ++run) {
    auto& slot = *slot_of(op, run);
    for (std::uint32_t index = 0; index < op.runs[run].part_count; ++index) {
      auto piece = piece_of(slot, op, run, index);
      if (piece.rows.listed) {
        piece.rows.keys = aligned(op.eager_keys + piece.first_key * sizeof(Key), piece.key_bytes);
        if (slot.gather(piece.rows, rows + piece.offset) != Outcome::applied)
          status = Errc::out_of_range;
      } else {
        std::size_t offset = 0;
        const auto snapshot = slot.pin(piece.rows.range, offset);
        std::memcpy(rows + piece.offset, snapshot.memory->data + offset, piece.bytes);
        auto context = plane_.shard.context();
        unpin(context, *snapshot.memory);
      }
      note_version(op, slot.version(piece.rows, plane_.global_clock));
      plane_.metrics.rows_pulled += piece.rows.count();
    }
  }
  plane_.metrics.bytes_out += bytes;
  const ConstMemoryView payload(rows, bytes);
  end_now(op, status,
          status == Errc::ok ? std::span(&payload, 1) : std::span<const ConstMemoryView>{});
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

const WriteTicket* Pulls::awaited_write() const {
  const auto* pinned = pinned_writes_.front();
  const auto* gathered = gathered_writes_.front();
  if (!plane_.copy_waiters.empty() && pinned != nullptr) return pinned;
  if (rows_short_ && gathered != nullptr) return gathered;
  if (!tickets_short_) return nullptr;
  if (pinned == nullptr || gathered == nullptr) return pinned != nullptr ? pinned : gathered;
  return pinned->posted <= gathered->posted ? pinned : gathered;
}

TimePoint Pulls::stalls_at(const WriteTicket& ticket) const {
  return deadline_after(std::max(ticket.posted, ticket.peer->moved), plane_.limits.stall);
}

Peer* Pulls::stalled() const {
  const auto* oldest = awaited_write();
  if (oldest == nullptr || oldest->peer->gone) return nullptr;
  return plane_.now >= stalls_at(*oldest) ? oldest->peer : nullptr;
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
