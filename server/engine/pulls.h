#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "server/engine/plane.h"
#include "server/engine/turn_work.h"

namespace shoal {

/// The way of pulls through a server: admitted by G or by the version, or parked; then each part is
/// sent from a pinned snapshot of its segment (ranges) or gathered (key lists), and the answer goes
/// behind the last WRITE. See docs/design/snapshots.md and docs/design/consistency.md. Belongs to
/// the server's loop.
class Pulls {
 public:
  explicit Pulls(Plane& plane)
      : plane_(plane),
        ops_(plane.limits.pulls_max),
        parts_(plane.limits.writes_max),
        tickets_(plane.limits.writes_max),
        inline_rows_(kEagerBytesMax) {}

  /// A pull from a table that is served. `member` is Members::kNone for observers. False: the frame
  /// is not one that a correct worker sends.
  bool handle(Peer& peer, MemberIndex member, bool observer, TableState& table,
              const FrameView& frame);
  /// The asker lets go: its answer follows once nothing of it is under way.
  void cancel(Peer& peer, RequestId request);

  void key_read_done(std::uint64_t part_index, Errc status);
  void write_done(std::uint64_t ticket_index);
  /// Gathers lists whose keys have landed, and posts WRITEs, a part for each peer in turn, a turn's
  /// work of each, while pins and memory last. True: did something.
  bool send();
  /// A device has yet to bring some rows.
  bool settling() const { return !settling_.empty(); }
  /// Parts wait for memory, for room in the transport, or for the next turn.
  bool blocked() const { return !writers_.empty() || !landed_.empty(); }
  /// Something changed in the slot: a version, a push that a pull comes after, a free copy.
  void advance(SlotState& slot);
  /// G rose, or the server may answer again.
  void open_gate();
  /// Pulls that have waited to their deadline end with `timed_out`.
  void expire();
  /// While pushes wait for a copy, or pulls for memory to gather in: the peer whose send holds it
  /// for longest, if nothing of that peer's has moved for ServerLimits::stall. Or null.
  Peer* stalled() const;
  TimePoint next_timer() const;

  void drop(Peer& peer);
  void drop(MemberIndex member);
  void drop(SlotState& slot, Errc why);

 private:
  enum class Step : std::uint8_t { sent, waits, busy };
  /// Where a part's rows are, and where they go.
  struct Piece {
    PartRows rows;
    std::uint64_t first_key = 0;
    std::size_t key_bytes = 0;
    std::uint64_t offset = 0;
    std::size_t bytes = 0;
  };
  struct InlinePart {
    SlotState* slot;
    Piece piece;
  };

  // pulls.cc: requests, what they wait for, their end
  void begin(PullOp& op, Peer& peer, const FrameHeader& header, const PullParts& parts);
  void proceed_with_keys(PullOp& op, std::span<const std::byte> keys);
  Errc check(const PullOp& op, const TableState& table, const FrameView& frame) const;
  Piece piece_of(const SlotState& slot, const PullOp& op, std::uint32_t run,
                 std::uint32_t index) const;
  SlotState* slot_of(const PullOp& op, std::uint32_t run) const;
  bool gate_open(const PullOp& op, const TableRules& rules) const;
  /// Lets it go on: through the gate, into its peer's sends, or to its inline answer.
  void proceed(PullOp& op);
  /// Whether a part may be sent now; if not, who it waits on has been told.
  bool admit(PullOp& op, SlotState& slot, const Piece& piece, std::uint32_t run);
  void wait_at_gate(PullOp& op);
  void wait_on(PullOp& op, SlotState& slot);
  void stop_waiting(PullOp& op);
  void park(PullOp& op);
  bool gather_landed();
  bool gather_next(TurnWork& work);
  bool send_parts();
  Step send_next(PullOp& op, TurnWork& work);
  Step send_range(PullOp& op, SlotState& slot, const Piece& piece);
  Step send_list(PullOp& op, SlotState& slot, const Piece& piece);
  bool post_key_read(PullOp& op, PullPart& part, std::byte* to, std::uint64_t first_key,
                     std::size_t bytes);
  Step read_keys(PullOp& op, const Piece& piece);
  Step fetch_keys(PullOp& op);
  void keys_fetched(PullOp& op);
  bool write(PullOp& op, ConstMemoryView from, const Piece& piece, WriteTicket& ticket);
  bool post(PullOp& op, ConstMemoryView from, std::uint64_t offset, std::uint64_t rows,
            WriteTicket& ticket);
  /// From a device: its rows are sent when it has brought them.
  Step bring(PullOp& op, SlotState& slot, const Piece& piece);
  void settle(PullOp& op, WriteTicket& ticket);
  bool send_brought();
  void give_back(WriteTicket& ticket);
  WriteTicket* take_ticket();
  List<WriteTicket, &WriteTicket::by_age>& writes_of(const WriteTicket& ticket) {
    return ticket.memory != nullptr ? pinned_writes_ : gathered_writes_;
  }
  /// The oldest of those whose end somebody waits for.
  const WriteTicket* awaited_write() const;
  TimePoint stalls_at(const WriteTicket& ticket) const;
  void answer_inline(PullOp& op);
  void bring_inline(PullOp& op, std::size_t bytes);
  NodeId awaited(const PullOp& op);
  void note_version(PullOp& op, WorkerClock version);
  void move_on(PullOp& op);
  void end(PullOp& op, Errc status);
  void end_now(PullOp& op, Errc status, std::span<const ConstMemoryView> payload);
  void forget(PullOp& op);
  template <class F>
  void end_those(F&& concerned, Errc why);
  std::span<const Key> aligned(const std::byte* keys, std::size_t bytes);

  Plane& plane_;
  Pool<PullOp> ops_;
  Pool<PullPart> parts_;
  Pool<WriteTicket> tickets_;
  List<PullOp, &PullOp::alive> all_;
  List<Peer, &Peer::writing> writers_;
  List<PullOp, &PullOp::waiting> gate_;
  List<PullOp, &PullOp::timed> timed_;
  List<PullPart, &PullPart::landed> landed_;
  List<WriteTicket, &WriteTicket::by_age> pinned_writes_, gathered_writes_;
  List<WriteTicket, &WriteTicket::settling>
      settling_;                ///< in the order in which a device brings them
  bool rows_short_ = false;     ///< a part found no memory to gather its rows in
  bool tickets_short_ = false;  ///< a part found `writes_max` WRITEs under way
  TimePoint next_deadline_ = kNever;
  std::vector<Key> aligned_keys_;
  std::vector<InlinePart> inline_parts_;  ///< of the answer that is being made,
  std::vector<std::byte> inline_rows_;    ///< and its rows
};

}  // namespace shoal
