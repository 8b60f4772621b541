// The way of a pull's rows to their reader: WRITES, from segments or gathered, and small answers.

#include <algorithm>
#include <cstring>

#include "server/engine/pulls.h"

namespace shoal {

static_assert(kEagerBytesMax <= Transport::kCopyMax, "an answer's rows are copied");

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
  const bool brought = send_brought();
  return send_parts() || gathered || brought;
}

bool Pulls::send_parts() {
  TurnWork work;
  for (bool progress = true; progress && !work.enough();) {
    progress = false;
    for (auto turns = writers_.size(); turns > 0 && !work.enough(); --turns) {
      auto* peer = writers_.pop_front();
      auto* op = peer->sends.front();
      if (op == nullptr || peer->pins >= plane_.limits.pins_per_peer) continue;
      if (send_next(*op, work) != Step::busy) {
        progress = true;
        work.add_part();
      }
      if (!peer->sends.empty()) writers_.push_back(peer);
    }
  }
  return work.any();
}

/// Sends a request's next part, and answers it after its last.
Pulls::Step Pulls::send_next(PullOp& op, TurnWork& work) {
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
    if (piece.rows.listed && piece.rows.known) work.add_bytes(piece.bytes);
    move_on(op);
  }
  if (op.ended == Errc::ok && op.run < op.runs.size()) return Step::sent;
  op.peer->sends.erase(&op);
  if (op.in_flight == 0) end(op, op.ended);
  return Step::sent;
}

bool Pulls::write(PullOp& op, ConstMemoryView from, const Piece& piece, WriteTicket& ticket) {
  if (!post(op, from, piece.offset, piece.rows.count(), ticket)) return false;
  ++op.peer->pins;
  return true;
}

bool Pulls::post(PullOp& op, ConstMemoryView from, std::uint64_t offset, std::uint64_t rows,
                 WriteTicket& ticket) {
  const auto& to = op.meta.destination;
  const auto status =
      plane_.transport.write(op.peer->endpoint, from, {to.region, to.address + offset, from.bytes},
                             std::uint64_t{ticket.pool_index} << kTagBits | kWriteTag);
  if (!status.ok()) return false;
  ticket.peer = op.peer;
  ticket.posted = plane_.now;
  writes_of(ticket).push_back(&ticket);
  ++plane_.metrics.writes;
  plane_.metrics.bytes_out += from.bytes;
  plane_.metrics.rows_pulled += rows;
  return true;
}

WriteTicket* Pulls::take_ticket() {
  auto* ticket = tickets_.take();
  tickets_short_ = tickets_short_ || ticket == nullptr;
  return ticket;
}

Pulls::Step Pulls::bring(PullOp& op, SlotState& slot, const Piece& piece) {
  auto* ticket = take_ticket();
  if (ticket == nullptr) return Step::busy;
  ticket->gathered = plane_.gathered.take(piece.bytes);
  ticket->gathered_bytes = piece.bytes;
  rows_short_ = rows_short_ || ticket->gathered == nullptr;
  auto outcome = Outcome::no_room;
  if (ticket->gathered != nullptr) {
    outcome = Outcome::applied;
    if (piece.rows.listed)
      outcome = slot.gather(piece.rows, ticket->gathered);
    else
      slot.copy_out(piece.rows.range, ticket->gathered);
  }
  if (outcome != Outcome::applied) {
    give_back(*ticket);
    if (outcome == Outcome::no_room) return Step::busy;
    op.ended = Errc::out_of_range;  // A key that is not this slot's.
    return Step::sent;
  }
  ticket->offset = piece.offset;
  ticket->rows = piece.rows.count();
  ++op.peer->pins;
  settle(op, *ticket);
  note_version(op, slot.version(piece.rows, plane_.global_clock));
  return Step::sent;
}

void Pulls::settle(PullOp& op, WriteTicket& ticket) {
  ticket.op = &op;
  ticket.peer = op.peer;
  const auto event = plane_.shard.device().record();
  if (event.ok()) ticket.brought = *event;
  ++op.in_flight;
  settling_.push_back(&ticket);
}

void Pulls::give_back(WriteTicket& ticket) {
  if (ticket.gathered != nullptr) plane_.gathered.give(ticket.gathered, ticket.gathered_bytes);
  tickets_.give(&ticket);
}

/// What a device has brought goes on its way, or into its answer.
bool Pulls::send_brought() {
  bool any = false;
  for (auto* ticket = settling_.front(); ticket != nullptr;) {
    if (!plane_.device_has(ticket->brought)) break;
    auto* next = settling_.next(ticket);
    auto& op = *ticket->op;
    auto& peer = *op.peer;
    const ConstMemoryView rows(ticket->gathered, ticket->gathered_bytes);
    const bool wanted = op.ended == Errc::ok && !peer.gone;
    // No room in the transport: those of other peers may go meanwhile.
    if (wanted && !op.inlined() && !post(op, rows, ticket->offset, ticket->rows, *ticket)) {
      ticket = next;
      continue;
    }
    settling_.erase(ticket);
    any = true;
    if (op.inlined()) {
      --op.in_flight;
      if (wanted) {
        plane_.metrics.bytes_out += rows.bytes;
        plane_.metrics.rows_pulled += ticket->rows;
        end_now(op, Errc::ok, {&rows, 1});
      } else {
        end_now(op, op.ended, {});
      }
      give_back(*ticket);
    } else if (!wanted) {
      --peer.pins;
      give_back(*ticket);
      if (--op.in_flight == 0) end(op, op.ended);
    } else if (--op.in_flight == 0 && op.run == op.runs.size()) {
      end(op, op.ended);
    }
    ticket = next;
  }
  if (any) plane_.copies_freed();
  return any;
}

/// From the segment's own memory: pinned until the WRITE has left.
Pulls::Step Pulls::send_range(PullOp& op, SlotState& slot, const Piece& piece) {
  if (plane_.shard.late()) return bring(op, slot, piece);
  const auto began = plane_.trace.now();
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
  plane_.trace.wrote(op, began, piece.bytes);
  note_version(op, slot.version(piece.rows, plane_.global_clock));
  return Step::sent;
}

Pulls::Step Pulls::send_list(PullOp& op, SlotState& slot, const Piece& piece) {
  if (plane_.shard.late()) return bring(op, slot, piece);
  const auto began = plane_.trace.now();
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
      plane_.trace.wrote(op, began, piece.bytes);
      note_version(op, slot.version(piece.rows, plane_.global_clock));
      return Step::sent;
    }
  }
  tickets_.give(ticket);
  plane_.gathered.give(rows, piece.bytes);
  return op.ended != Errc::ok ? Step::sent : Step::busy;
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
  bool gaps = false;
  inline_parts_.clear();
  for (op.run = 0; op.run < op.runs.size(); ++op.run) {
    auto& slot = *slot_of(op, op.run);
    for (op.index = 0; op.index < op.runs[op.run].part_count; ++op.index) {
      inline_parts_.push_back({&slot, piece_of(slot, op, op.run, op.index)});
      auto& piece = inline_parts_.back().piece;
      if (piece.rows.listed) {
        piece.rows.keys = aligned(op.eager_keys + piece.first_key * sizeof(Key), piece.key_bytes);
        piece.rows.known = true;
      }
      if (!admit(op, slot, piece, op.run)) return;
      gaps |= piece.offset != bytes;
      bytes = std::max(bytes, static_cast<std::size_t>(piece.offset + piece.bytes));
    }
  }
  if (plane_.shard.late()) return bring_inline(op, bytes);
  auto* const rows = inline_rows_.data();
  if (gaps) std::memset(rows, 0, bytes);  // What stands there is of other answers.
  auto status = Errc::ok;
  for (auto& [slot, piece] : inline_parts_) {
    if (piece.rows.listed) {
      piece.rows.keys = aligned(op.eager_keys + piece.first_key * sizeof(Key), piece.key_bytes);
      if (slot->gather(piece.rows, rows + piece.offset) != Outcome::applied)
        status = Errc::out_of_range;
    } else {
      std::size_t offset = 0;
      const auto snapshot = slot->pin(piece.rows.range, offset);
      std::memcpy(rows + piece.offset, snapshot.memory->data + offset, piece.bytes);
      auto context = plane_.shard.context();
      unpin(context, *snapshot.memory);
    }
    note_version(op, slot->version(piece.rows, plane_.global_clock));
    plane_.metrics.rows_pulled += piece.rows.count();
  }
  plane_.metrics.bytes_out += bytes;
  const ConstMemoryView payload(rows, bytes);
  end_now(op, status,
          status == Errc::ok ? std::span(&payload, 1) : std::span<const ConstMemoryView>{});
}

/// The same from a device: the answer waits for it.
void Pulls::bring_inline(PullOp& op, std::size_t bytes) {
  auto* ticket = take_ticket();
  if (ticket == nullptr) return end(op, Errc::overloaded);
  ticket->gathered = plane_.gathered.take(bytes);
  ticket->gathered_bytes = bytes;
  if (ticket->gathered == nullptr) {
    give_back(*ticket);
    return end(op, Errc::overloaded);
  }
  std::memset(ticket->gathered, 0, bytes);
  for (auto& [slot, piece] : inline_parts_) {
    auto* rows = ticket->gathered + piece.offset;
    auto outcome = Outcome::applied;
    if (piece.rows.listed) {
      piece.rows.keys = aligned(op.eager_keys + piece.first_key * sizeof(Key), piece.key_bytes);
      outcome = slot->gather(piece.rows, rows);
    } else {
      slot->copy_out(piece.rows.range, rows);
    }
    if (outcome == Outcome::no_room)
      op.ended = Errc::overloaded;
    else if (outcome != Outcome::applied)
      op.ended = Errc::out_of_range;
    note_version(op, slot->version(piece.rows, plane_.global_clock));
    ticket->rows += piece.rows.count();
  }
  settle(op, *ticket);
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

}  // namespace shoal
