#include <arpa/inet.h>

#include <algorithm>

#include "core/base/log.h"
#include "transport/verbs/verbs_fabric.h"

// One turn of the fabric: the hot path.

namespace shoal::verbs {

std::size_t VerbsFabric::poll(std::span<Event> events) {
  owner_.check();
  recycle();
  flush_dirty();
  PollOutput out{events};
  report_completed(out);
  report_held(out);
  const bool dry = take_completions(out);
  report_held(out);
  if (const auto now = clock_.now(); now >= next_news_) hear_news(now);
  if (dry && !gates_open()) end_lost();
  flush_dirty();
  report_completed(out);
  return out.count;
}

void VerbsFabric::flush() {
  owner_.check();
  flush_dirty();
}

// Frames of the last poll are no longer looked at.
void VerbsFabric::recycle() {
  for (auto& assembly : reported_) spare_.push_back(std::move(assembly));
  reported_.clear();
  for (const auto& used : used_) rails_[used.rail]->recycle(used.completion);
  const bool none_used = used_.empty();
  used_.clear();
  if (by_endpoint_.empty())
    for (const auto& rail : rails_) rail->reclaim();
  if (none_used || by_endpoint_.empty()) return;
  for (std::uint32_t rail = 0; rail < rails_.size(); ++rail)
    if (auto status = rails_[rail]->post_receives(); !status.ok())
      lose_links(rail, status.error().message());
}

void VerbsFabric::lose_links(std::uint32_t rail, const std::string& what) {
  for (const auto& link : links_)
    if (link != nullptr && link->uses(rail)) lose_link(*link, Errc::io, what);
}

void VerbsFabric::flush_dirty() {
  if (dirty_.empty()) return;
  scratch_.clear();
  scratch_.swap(dirty_);
  for (const auto id : scratch_) {
    auto* link = by_endpoint_.find(id);
    if (link == nullptr) continue;
    link->dirty = false;
    if (!link->ready || link->lost != Errc::ok) continue;
    if (auto status = link->post(); !status.ok())
      lose_link(*link, status.code(), status.error().message());
  }
}

void VerbsFabric::report_completed(PollOutput& out) {
  while (!completed_.empty() && out.room() > 0) {
    const auto& event = completed_.front();
    if (event.endpoint != EndpointId{}) out.put(event);
    completed_.pop_front();
  }
}

/// True: there is nothing more.
bool VerbsFabric::take_completions(PollOutput& out) {
  bool dry = true;
  for (std::uint32_t rail = 0; rail < rails_.size(); ++rail) {
    bool rail_dry = true;
    for (std::size_t queue = 0; queue < rails_[rail]->queues(); ++queue)
      rail_dry &= take_of_queue(rail, queue, out);
    if (rail_dry) rails_[rail]->poll_dry();
    dry &= rail_dry;
  }
  return dry;
}

// Each completion makes one event at most, or one to wait in completed_.
bool VerbsFabric::take_of_queue(std::uint32_t rail, std::size_t queue, PollOutput& out) {
  std::array<ibv_wc, kCompletionsPerPoll> completions;
  for (;;) {
    const auto wanted = std::min(completions.size(), out.room());
    if (wanted == 0) return false;
    const auto polled = rails_[rail]->poll(queue, std::span(completions).first(wanted));
    if (!polled.ok()) {
      for (const auto& link : links_)
        if (link != nullptr && link->uses(rail, queue))
          lose_link(*link, Errc::io, polled.error().message());
      return true;
    }
    for (const auto& completion : std::span(completions).first(*polled)) {
      if (is_receive(completion))
        on_received(completion, rail, out);
      else
        on_posted(completion, rail);
    }
    if (*polled < wanted) return true;
  }
}

void VerbsFabric::on_received(const ibv_wc& completion, std::uint32_t rail, PollOutput& out) {
  const auto at = receivers_[rail].find(completion.qp_num);
  auto* link = at != receivers_[rail].end() ? at->second.link : nullptr;
  used_.push_back({rail, completion});
  if (link == nullptr || link->closing) return;
  const auto& [of_link, strand, lane] = at->second;
  auto& assembler = link->incoming[static_cast<std::size_t>(lane)];
  if (completion.status != IBV_WC_SUCCESS) {
    assembler.fail(Errc::peer_lost);
    return lose_link(*link, Errc::peer_lost, api_->wc_status_str(completion.status));
  }
  link->strands()[strand]->heard = true;
  if (strand != 0) {
    if (completion.byte_len == 0) link->gate.token(strand);
    return;
  }
  FrameView frame;
  std::unique_ptr<Assembly> whole;
  switch (assembler.add(rails_[rail]->received(completion), frame, whole, spare_)) {
    case Assembler::Next::none:
      return;
    case Assembler::Next::failed:
      return lose_link(*link, assembler.error(), "the peer sent what is no frame");
    case Assembler::Next::frame:
      break;
  }
  if (lane == Lane::bulk && hold(*link, completion, frame, whole)) return;
  if (whole != nullptr) reported_.push_back(std::move(whole));
  out.put(message_event(link->id, frame));
}

/// True: the frame waits for tokens, or nobody will see it.
bool VerbsFabric::hold(Link& link, const ibv_wc& completion, const FrameView& frame,
                       std::unique_ptr<Assembly>& whole) {
  const bool named = (completion.wc_flags & IBV_WC_WITH_IMM) != 0;
  const BulkGate::Strands awaits = named ? ntohl(completion.imm_data) : 0;
  if (!link.knows(awaits) || link.gate.held_bytes() > kHeldBytesMax) {
    link.incoming[static_cast<std::size_t>(Lane::bulk)].fail(Errc::protocol);
    lose_link(link, Errc::protocol, "the peer sent a frame that waits for what never comes");
    return true;
  }
  if (link.gate.passes(awaits)) return false;
  BulkGate::Held held{awaits, std::move(whole), frame};
  if (held.assembly == nullptr) held = copy_held(awaits, frame);
  if (link.gate.empty()) gated_.push_back(link.id);
  link.gate.hold(std::move(held));
  return true;
}

/// A frame that is still in its receive buffer, which is wanted back.
BulkGate::Held VerbsFabric::copy_held(BulkGate::Strands awaits, const FrameView& frame) {
  if (spare_.empty()) spare_.push_back(std::make_unique<Assembly>());
  BulkGate::Held held{awaits, std::move(spare_.back()), frame};
  spare_.pop_back();
  const auto meta_bytes = padded(frame.meta.size());
  auto& bytes = held.assembly->bytes;
  if (bytes.size() < meta_bytes + frame.payload.size())
    bytes.resize(meta_bytes + frame.payload.size());
  std::copy(frame.meta.begin(), frame.meta.end(), bytes.begin());
  std::copy(frame.payload.begin(), frame.payload.end(),
            bytes.begin() + static_cast<std::ptrdiff_t>(meta_bytes));
  held.frame.meta = std::span(bytes).first(frame.meta.size());
  held.frame.payload = std::span(bytes).subspan(meta_bytes, frame.payload.size());
  return held;
}

void VerbsFabric::report_held(PollOutput& out) {
  std::erase_if(gated_, [&](EndpointId id) {
    auto* link = by_endpoint_.find(id);
    if (link == nullptr || link->closing) return true;
    while (out.room() > 0 && link->gate.open()) {
      auto held = link->gate.next();
      reported_.push_back(std::move(held.assembly));
      out.put(message_event(id, held.frame));
    }
    return link->gate.empty();
  });
}

bool VerbsFabric::gates_open() const {
  return std::any_of(gated_.begin(), gated_.end(), [&](EndpointId id) {
    auto* link = by_endpoint_.find(id);
    return link != nullptr && !link->closing && link->gate.open();
  });
}

void VerbsFabric::on_posted(const ibv_wc& completion, std::uint32_t rail) {
  const auto name = static_cast<std::uint32_t>(completion.wr_id >> 32) - 1;
  const auto index = name / (kStrandsMax * kPairsPerLink);
  auto* link = index < links_.size() ? links_[index].get() : nullptr;
  const auto at = name / kPairsPerLink % kStrandsMax;
  if (link == nullptr || at >= link->strands().size()) return;
  auto& strand = *link->strands()[at];
  const auto use = static_cast<Use>(name % kPairsPerLink);
  if (strand.rail_index != rail || !strand.has(use)) return;
  auto& pair = strand.pair(use);
  if (!pair.alive() || pair.number() != completion.qp_num) return;  // of a link that is gone
  const auto ended = [&](const Completion& done) { complete(*link, done, Errc::ok); };
  if (completion.status == IBV_WC_SUCCESS) {
    pair.retire(completion.wr_id, ended);
    if (pair.has_queued()) mark_dirty(*link);
    return;
  }
  if (completion.status == IBV_WC_WR_FLUSH_ERR) {
    lose_link(*link, Errc::peer_lost, "a queue pair is in error");
    return;
  }
  const bool refused = completion.status == IBV_WC_REM_ACCESS_ERR;
  const auto why = refused ? Errc::revoked : Errc::peer_lost;
  pair.retire_failed(completion.wr_id, ended, why);
  if (completion.status == IBV_WC_RETRY_EXC_ERR && link->lost == Errc::ok) suspect(rail);
  lose_link(*link, why, api_->wc_status_str(completion.status));
}

void VerbsFabric::hear_news(TimePoint now) {
  next_news_ = now + kDeviceNews;
  for (std::uint32_t rail = 0; rail < rails_.size(); ++rail) {
    for (Rail::News news; rails_[rail]->next_news(news);) {
      for (const auto& link : links_)
        if (link != nullptr &&
            (news.pair_number == 0 ? link->uses(rail) : link->has_pair(rail, news.pair_number)))
          lose_link(*link, Errc::peer_lost, news.what);
    }
  }
}

void VerbsFabric::lose_link(Link& link, Errc why, const std::string& what) {
  if (link.lost != Errc::ok) return;
  log_info("verbs", "the link to {} over {} ends: {}", link.peer_name,
           link.home().rail.port().device, what);
  link.lost = why;
  lost_.push_back(link.id);
}

// All that had arrived has been reported.
void VerbsFabric::end_lost() {
  for (const auto id : lost_) {
    auto* link = by_endpoint_.find(id);
    if (link == nullptr) continue;
    const auto ended = [&](const Completion& done) { complete(*link, done, Errc::peer_lost); };
    link->end_bulk(ended);
    link->home().end(Use::message, ended);
    if (!link->closing) completed_.push_back(closed_event(id, link->lost));
    remove_link(*link);
  }
  lost_.clear();
}

std::vector<int> VerbsFabric::wait_fds() const {
  std::vector<int> fds;
  for (const auto& rail : rails_) {
    fds.push_back(rail->channel_fd());
    fds.push_back(rail->async_fd());
  }
  return fds;
}

bool VerbsFabric::arm() {
  owner_.check();
  // A sleeper holds back no receive buffers.
  if (!used_.empty() || !completed_.empty() || !dirty_.empty() || !lost_.empty() || gates_open())
    return false;
  next_news_ = TimePoint::min();
  for (const auto& rail : rails_) {
    rail->drain_channel();
    if (!rail->arm()) return false;
  }
  return true;
}

}  // namespace shoal::verbs
