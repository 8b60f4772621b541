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
  progress(out.room());
  report_arrived(out);
  end_lost();
  tend_graves();
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
  for (auto& assembly : reported_) shared_.spare.push_back(std::move(assembly));
  reported_.clear();
}

void UcxFabric::push() {
  for (const auto& link : links_) link->push();
}

void UcxFabric::report_completed(PollOutput& out) {
  for (; !shared_.completed.empty() && out.room() > 0; shared_.completed.pop_front())
    out.put(shared_.completed.front());
}

/// Hears each link in turn as long as there is room for the frames that come: those that nobody
/// takes stay with UCX, and hold back whoever sends them.
void UcxFabric::progress(std::size_t room) {
  if (links_.empty()) return;
  first_ = (first_ + 1) % links_.size();
  for (std::size_t i = 0; i < links_.size(); ++i) {
    auto& link = *links_[(first_ + i) % links_.size()];
    link.dry = false;
    for (int turn = 0; turn < kTurns && shared_.arrived.size() < room; ++turn) {
      link.dry = !link.progress();
      if (link.dry) break;
    }
  }
}

void UcxFabric::report_arrived(PollOutput& out) {
  for (; !shared_.arrived.empty() && out.room() > 0; shared_.arrived.pop_front()) {
    auto& arrival = shared_.arrived.front();
    reported_.push_back(std::move(arrival.assembly));
    auto* link = by_endpoint_.find(arrival.endpoint);
    if (link == nullptr) continue;
    --link->unreported;
    if (link->closing) continue;
    out.put(message_event(link->id, arrival.frame));
  }
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
