#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "server/engine/plane.h"

namespace shoal {

/// The way of pushes through a server: checked, put into the order of their (worker, slot), READ
/// part by part if their bytes are not in the message, applied whole while they are in cache,
/// answered when the last part has ended. See docs/design/protocol.md, "Push", and
/// docs/design/consistency.md. Belongs to the server's loop.
class Pushes {
 public:
  Pushes(Plane& plane, const ServerFaults& faults)
      : plane_(plane),
        faults_(faults),
        ops_(plane.limits.pushes_max),
        parts_(plane.limits.parts_max) {}

  /// A push of a worker that is in the roster, to a table that is served. `table` is not broken.
  /// False: the frame is not one that a correct worker sends.
  bool handle(Peer& peer, MemberIndex member, TableState& table, const FrameView& frame);

  /// One of a part's READs has ended.
  void read_done(std::uint64_t part_index, Errc status);
  /// Applies parts whose bytes have landed, or are there, a turn's work of them. True: there were
  /// some.
  bool apply_landed();
  /// Ends parts that a device has applied. True: there were some.
  bool end_settled();
  /// A device has yet to apply some.
  bool settling() const { return !settling_.empty(); }
  /// Posts READs, one for each peer in turn, while there is room to land. True: posted something.
  bool start_reads();
  /// READs wait for room to land, in the transport, or for others of their peer to end.
  bool blocked() const { return !readers_.empty(); }
  /// Something changed in the slot: G, a turn, a free copy.
  void advance(SlotState& slot);

  /// A connection ended: what waits of it goes, and what waits behind.
  void drop(Peer& peer);
  /// A worker left the roster: what waits of it ends with `fenced`.
  void drop(MemberIndex member);
  /// A slot goes.
  void drop(SlotState& slot, Errc why);
  /// The server may answer again.
  void answer_finished();

 private:
  /// Where a part's rows and bytes are.
  struct Piece {
    PartRows rows;
    std::uint64_t first_key = 0;
    std::size_t key_bytes = 0;
    std::uint64_t value_offset = 0;
    std::size_t value_bytes = 0;
  };
  enum class Step : std::uint8_t { ended, waits };

  void begin(PushOp& op, Peer& peer, const FrameView& frame, const PushParts& parts);
  bool check(const PushOp& op, TableState& table, std::uint64_t key_bytes,
             std::uint64_t value_bytes, Errc& wrong) const;
  Piece piece_of(const SlotState& slot, const PushOp& op, const PushRun& run,
                 std::uint32_t index) const;
  void outlast_reads(PushOp& op);
  void take_run(PushOp& op, SlotState& slot, std::uint32_t run, const FrameView& frame);
  Step take_part(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index,
                 const FrameView& frame);
  Step enqueue(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index,
               const Piece& piece, const FrameView& frame, Part* replaced);
  bool waits_for_others(const PushOp& op, const SlotState& slot, const Piece& piece,
                        const Part* before) const;
  bool room_for_early() const;
  bool keep_bytes(Part& part, const PushOp& op, const Piece& piece, const FrameView& frame);
  void replace(SlotState& slot, PushSource& source, Part& older, Part& newer);
  Outcome attempt(PushOp& op, SlotState& slot, const Piece& piece, const std::byte* values);
  bool attempt_there(PushOp& op, SlotState& slot, const Piece& piece, Outcome& outcome);
  Outcome apply(const PushOp& op, SlotState& slot, const Piece& piece, const std::byte* values);
  std::span<const Key> eager_keys(const FrameView& frame, const Piece& piece);
  /// After an attempt that ended the part: its number is done.
  void conclude(PushOp& op, SlotState& slot, std::uint32_t run, std::uint32_t index, Sequence q,
                Outcome outcome, std::uint64_t rows);
  /// What of that does not wait for a device; what the part is answered with.
  Errc finish(PushOp& op, SlotState& slot, Sequence q, Outcome outcome, std::uint64_t rows);
  void settle(Part& part, Errc code);
  void hold(PushOp& op, SlotState& slot, Outcome outcome);
  void advance(SlotState& slot, PushSource& source);
  Step try_front(SlotState& slot, PushSource& source);
  bool name_rows(const Part& part, Piece& piece);
  void refetch(Part& part);
  void must_copy(Part& part);
  bool may_stay(const Part& part) const;
  bool leave_there(Part& part);
  void land(Part& part);
  void unland(Part& part);
  void look_ahead(SlotState& slot, PushSource& source);
  void want(Part& part);
  bool post_reads(Part& part);
  void unqueue_all(SlotState& slot, PushSource& source, Part* from, Errc own, const Peer* of);
  void release(Part* part);
  void end_part(PushOp& op, std::uint32_t run, std::uint32_t index, Errc code);
  void end_if_done(PushOp& op);
  void park(PushOp& op);
  void keep(PushOp& op);
  void free(PushOp& op);

  Plane& plane_;
  const ServerFaults& faults_;
  Pool<PushOp> ops_;
  Pool<Part> parts_;
  std::size_t early_ = 0;  ///< of parts_: how many are
  List<Peer, &Peer::reading> readers_;
  List<Part, &Part::landed> landed_;
  List<Part, &Part::landed> settling_;  ///< in the order in which the device applies them
  List<PushOp, &PushOp::finished> finished_;
  std::vector<Key> aligned_keys_;
};

}  // namespace shoal
