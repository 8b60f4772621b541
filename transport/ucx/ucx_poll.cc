#include <algorithm>

#include "transport/ucx/ucx_fabric.h"

// One turn of the fabric: the hot path.

namespace shoal::ucx {

std::size_t UcxFabric::poll(std::span<Event> events) {
  owner_.check();
  recycle();
  push();
  PollOutput out{events};
  report_completed(out);
  report_arrived(out);
  progress(out);
  if (!shared_.lost.empty()) end_lost();
  if (!graves_.empty()) tend_graves();
  push();
  report_completed(out);
  return out.count;
}

void UcxFabric::flush() {
  owner_.check();
  push();
}

// Frames of the last poll are no longer looked at.
void UcxFabric::recycle() {
  for (auto& assembly : shared_.reported) shared_.spare.push_back(std::move(assembly));
  shared_.reported.clear();
}

void UcxFabric::push() {
  for (const auto& link : links_) link->push();
}

void UcxFabric::report_completed(PollOutput& out) {
  for (; !shared_.completed.empty() && out.room() > 0; shared_.completed.pop_front())
    out.put(shared_.completed.front());
}

/// What came when a poll had no room for it.
void UcxFabric::report_arrived(PollOutput& out) {
  for (; !shared_.arrived.empty() && out.room() > 0; shared_.arrived.pop_front()) {
    auto& arrival = shared_.arrived.front();
    shared_.reported.push_back(std::move(arrival.assembly));
    auto* link = by_endpoint_.find(arrival.endpoint);
    if (link == nullptr) continue;
    --link->unreported;
    if (link->closing) continue;
    out.put(message_event(link->id, arrival.frame));
  }
}

/// Hears each link in turn as long as there is room for the frames that come: those that nobody
/// takes stay with UCX, and hold back whoever sends them.
void UcxFabric::progress(PollOutput& out) {
  shared_.polled = &out;
  for (std::size_t idle = 0; idle == 0 || idle < kIdleTurns; idle += links_.size())
    if (links_.empty() || progress_once(out) || out.count != 0) break;
  shared_.polled = nullptr;
}

/// True: something happened.
bool UcxFabric::progress_once(PollOutput& out) {
  bool any = false;
  first_ = first_ + 1 < links_.size() ? first_ + 1 : 0;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    const auto at = first_ + i;
    auto& link = *links_[at < links_.size() ? at : at - links_.size()];
    link.dry = false;
    const auto before = out.count;
    for (int turn = 0; turn < kTurns && out.room() > 0; ++turn) {
      link.dry = !link.progress();
      any = any || !link.dry;
      // Whoever waits for a frame would wait for the next turn, too.
      if (link.dry || out.count != before) break;
    }
  }
  return any;
}

/// All that had arrived has been reported.
void UcxFabric::end_lost() {
  auto& lost = shared_.lost;
  if (lost.empty()) return;
  std::erase_if(lost, [&](EndpointId id) {
    auto* link = by_endpoint_.find(id);
    if (link == nullptr) return true;
    if (!link->dry || link->unreported > 0) return false;
    link->end_loans(Errc::peer_lost);
    if (!link->closing) shared_.completed.push_back(closed_event(id, link->lost));
    remove_link(*link);
    return true;
  });
}

void UcxFabric::tend_graves() {
  for (std::size_t i = 0; i < graves_.size();) {
    auto& grave = graves_[i];
    grave->progress();
    if (!grave->buried()) {
      ++i;
      continue;
    }
    destroy(std::move(grave));
    graves_.erase(graves_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

bool UcxFabric::arm() {
  owner_.check();
  if (!shared_.completed.empty() || !shared_.arrived.empty() || !shared_.lost.empty()) return false;
  bool stalled = false;
  for (const auto& link : links_) {
    if (link->wants_push()) return false;
    if (link->arm()) continue;
    if (!link->stalled(clock_.now())) return false;
    stalled = true;
  }
  for (const auto& grave : graves_)
    if (!grave->arm()) return false;
  wait_set_.wake_after(stalled ? kStalled : Duration::zero());
  return true;
}

}  // namespace shoal::ucx
