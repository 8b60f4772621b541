#include "server/engine/directories.h"

namespace shoal {

static_assert(kDirectorySlotsMax * sizeof(DirectorySlot) <= Transport::kCopyMax,
              "the answer's slots are copied");

bool Directories::handle(Peer& peer, TableState& table, const FrameView& frame) {
  const auto& header = frame.header;
  const auto meta = parse_directory(frame);
  if (!meta.ok()) return false;
  const auto& spec = table.rules->spec();
  const auto refuse = [&](Errc why, std::string_view words) {
    plane_.refuse(peer, header.request, header.table, why, words);
    return true;
  };
  // Another may have the slots by now.
  if (plane_.silent) return refuse(Errc::not_ready, {});
  if (spec.layout != Layout::dense || table.rules->apply() != Apply::on_arrival ||
      spec.staleness != unbounded)
    return refuse(Errc::unavailable,
                  "only a dense table of unbounded staleness can be pulled from one-sidedly");
  told_.clear();
  for (auto i = meta->first.value; i < table.slots.size() && told_.size() < kDirectorySlotsMax; ++i)
    if (auto* slot = table.slots[i].get(); slot != nullptr && slot->chain.tail() == plane_.self)
      if (!add(*slot)) return refuse(Errc::unavailable, "its memory cannot be registered");
  const auto bytes = std::as_bytes(std::span(told_));
  const ConstMemoryView payload(bytes.data(), bytes.size());
  const auto prefix = plane_.answer_meta();
  Transport::SendOptions copied;
  copied.copy_payload = true;
  (void)plane_.sessions.answer(peer.endpoint, header.request,
                               plane_.answer_header(header.table, Errc::ok, 0),
                               std::as_bytes(std::span(&prefix, 1)), {&payload, 1}, copied, false);
  return true;
}

bool Directories::add(SlotState& slot) {
  auto& store = *slot.dense();
  const bool first = store.directory().key() == 0;
  const auto key = store.expose_directory();
  if (key == 0) return false;
  if (first) exposing_.push_back(&slot);
  told_.push_back({.slot = slot.index(),
                   .since = slot.chain.since.packed(),
                   .entries = {key, 0, store.directory().byte_size()}});
  return true;
}

bool Directories::expose_some() {
  if (exposing_.empty()) return false;
  if (!exposing_.back()->dense()->expose_some()) exposing_.pop_back();
  return true;
}

}  // namespace shoal
