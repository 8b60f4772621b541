#include "server/engine/plane.h"

#include <algorithm>
#include <cstring>

namespace shoal {

namespace {
constexpr std::size_t kPastViews = 8;
}

bool Plane::device_has(DeviceEvent event) {
  const auto done = shard.device().done(event);
  if (!done.ok() && device_status.ok()) device_status = done.error();
  return done.ok() && *done;
}

void Plane::copies_freed() {
  for (auto* slot : copy_waiters) {
    slot->waits_for_copy = false;
    kick(*slot);
  }
  copy_waiters.clear();
}

void Plane::forget_slot(SlotState& slot) {
  std::erase(kicked, &slot);
  std::erase(copy_waiters, &slot);
  lists.forget(slot);
}

void Plane::take_view(ViewPtr next) {
  if (view != nullptr && view->epoch != next->epoch) {
    if (past_views.size() == kPastViews) past_views.erase(past_views.begin());
    past_views.push_back(view);
  }
  view = std::move(next);
  full_view.clear();
}

AnswerMeta Plane::answer_meta() const {
  AnswerMeta meta;
  meta.holder = clock_info.holder;
  meta.roster = clock_info.roster;
  meta.oldest = meta.newest = global_clock;
  return meta;
}

FrameHeader Plane::answer_header(TableId table, Errc status, std::uint16_t flags) const {
  FrameHeader header;
  header.kind = FrameKind::answer;
  header.epoch = view != nullptr ? view->epoch.packed() : 0;
  header.clock = global_clock;
  header.table = table;
  header.flags = flags;
  header.status = static_cast<std::uint16_t>(status);
  return header;
}

void Plane::answer(Peer& peer, RequestId request, bool parked, TableId table, Errc status,
                   std::uint16_t flags, std::span<const std::uint16_t> codes) {
  if (peer.gone) return;
  if (status == Errc::overloaded) ++metrics.overloaded;
  auto prefix = answer_meta();
  prefix.part_count = static_cast<std::uint32_t>(codes.size());
  const auto codes_bytes = (codes.size_bytes() + 7) / 8 * 8;
  meta.assign(sizeof prefix + codes_bytes, std::byte{0});
  std::memcpy(meta.data(), &prefix, sizeof prefix);
  if (!codes.empty()) std::memcpy(meta.data() + sizeof prefix, codes.data(), codes.size_bytes());
  // A peer that went away a moment ago hears nothing, and needs nothing.
  (void)sessions.answer(peer.endpoint, request, answer_header(table, status, flags), meta, {}, {},
                        parked);
}

void Plane::refuse(Peer& peer, RequestId request, TableId table, Errc status,
                   std::string_view why) {
  if (peer.gone) return;
  why = why.substr(0, kReasonBytesMax);
  const auto prefix = answer_meta();
  meta.resize(sizeof prefix + why.size());
  std::memcpy(meta.data(), &prefix, sizeof prefix);
  if (!why.empty()) std::memcpy(meta.data() + sizeof prefix, why.data(), why.size());
  (void)sessions.answer(peer.endpoint, request, answer_header(table, status, 0), meta, {}, {},
                        false);
}

void Plane::answer_stale(Peer& peer, RequestId request, TableId table, std::uint64_t asker_epoch) {
  if (peer.gone) return;
  ++metrics.stale_views;
  std::uint16_t flags = 0;
  std::vector<std::byte> delta;
  std::span<const std::byte> bytes;
  if (peer.told != view->epoch) {
    const auto asked_from = Epoch::unpacked(asker_epoch);
    const auto past = std::find_if(past_views.begin(), past_views.end(),
                                   [&](const ViewPtr& v) { return v->epoch == asked_from; });
    if (past != past_views.end()) {
      bytes = delta = encode_delta(**past, *view);
      flags = frame_flag::kDelta;
    } else {
      if (full_view.empty()) full_view = encode_view(*view);
      bytes = full_view;
    }
  }
  const auto prefix = answer_meta();
  meta.resize(sizeof prefix + bytes.size());
  std::memcpy(meta.data(), &prefix, sizeof prefix);
  if (!bytes.empty()) std::memcpy(meta.data() + sizeof prefix, bytes.data(), bytes.size());
  const auto header = answer_header(table, Errc::stale_view, flags);
  if (sessions.answer(peer.endpoint, request, header, meta, {}, {}, false).ok())
    peer.told = view->epoch;
}

}  // namespace shoal
