#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/cluster/cluster_view.h"
#include "core/cluster/messages.h"
#include "server/engine/key_lists.h"
#include "server/engine/landing.h"
#include "server/engine/ops.h"
#include "server/engine/request_trace.h"
#include "server/engine/shard.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "transport/session.h"
#include "transport/transport.h"

namespace shoal {

/// What the ways of pushes and pulls through a server share: the network, the shard, the memory
/// that rows pass through, the time of the turn and what the scheduler said last. Belongs to one
/// loop.
struct Plane {
  Plane(Transport& t, SessionServer& s, Shard& h, ServerMetrics& m, const ServerLimits& l,
        Arena landing_arena, Arena waiting_arena, Arena gather_arena, Trace* tracer)
      : transport(t),
        sessions(s),
        shard(h),
        metrics(m),
        limits(l),
        lists(l.lists_bytes),
        landing(std::move(landing_arena), l.stall),
        waiting(std::move(waiting_arena)),
        gathered(std::move(gather_arena)),
        trace(tracer) {}

  Transport& transport;
  SessionServer& sessions;
  Shard& shard;
  ServerMetrics& metrics;
  const ServerLimits& limits;
  KeyLists lists;
  Landing landing;
  Arena waiting;   ///< eager bytes that have to wait
  Arena gathered;  ///< gathered rows that are being written
  RequestTrace trace;

  TimePoint now{};
  NodeId self;
  ViewPtr view;
  WorkerClock global_clock;
  GlobalClock clock_info;
  /// Nothing was heard of the scheduler for a lease: no answer leaves until it has been.
  bool silent = false;
  /// What the device that has the rows failed with: no row can be had any more.
  Status device_status;

  std::vector<SlotState*> kicked;        ///< Something changed: who waits there is looked at again.
  std::vector<SlotState*> copy_waiters;  ///< Parts or pulls there wait for a free copy.
  std::vector<std::byte> meta;           ///< for answers; grown to the largest
  std::vector<std::byte> full_view;      ///< encoded, once a stale sender needed it
  std::vector<ViewPtr> past_views;       ///< of which deltas can be made, newest last

  void kick(SlotState& slot) {
    if (slot.kicked) return;
    slot.kicked = true;
    kicked.push_back(&slot);
  }
  void wait_for_copy(SlotState& slot) {
    if (slot.waits_for_copy) return;
    slot.waits_for_copy = true;
    copy_waiters.push_back(&slot);
  }
  /// Whether the device has done what was issued up to `event`. False, too, once it has failed.
  bool device_has(DeviceEvent event);
  /// A pin has gone: who waits for a copy may find one, or need none.
  void copies_freed();
  /// Before a slot is dropped.
  void forget_slot(SlotState& slot);

  void take_view(ViewPtr next);
  /// Ends a request with an answer without rows. `codes`: one a part, or none if all have `status`.
  void answer(Peer& peer, RequestId request, bool parked, TableId table, Errc status,
              std::uint16_t flags, std::span<const std::uint16_t> codes);
  /// Refuses a request as a whole; `why`, in words for the user, is cut at kReasonBytesMax.
  void refuse(Peer& peer, RequestId request, TableId table, Errc status, std::string_view why);
  /// `stale_view`, with the delta from the asker's view if it is a recent one, else with all of
  /// ours; without either if it was sent this one before.
  void answer_stale(Peer& peer, RequestId request, TableId table, std::uint64_t asker_epoch);
  AnswerMeta answer_meta() const;
  FrameHeader answer_header(TableId table, Errc status, std::uint16_t flags) const;
};

}  // namespace shoal
