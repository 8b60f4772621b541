#include "transport/verbs/link.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace shoal::verbs {

Assembler::Next Assembler::add(std::span<const std::byte> bytes, FrameView& frame,
                               std::unique_ptr<Assembly>& whole,
                               std::vector<std::unique_ptr<Assembly>>& spare) {
  if (error_ != Errc::ok) return Next::failed;
  if (partial_ == nullptr) {
    if (bytes.size() < kFrameHeaderBytes) return fail(Errc::protocol);
    const auto parsed = parse_header(bytes.first<kFrameHeaderBytes>(), FrameLimits{});
    if (!parsed.ok()) return fail(parsed.code());
    header_ = *parsed;
    const auto all =
        frame_bytes(header_.meta_bytes, static_cast<std::size_t>(header_.payload_bytes));
    if (bytes.size() == all) {
      auto view = view_frame(header_, bytes);
      if (!view.ok()) return fail(view.code());
      frame = *view;
      return Next::frame;
    }
    if (bytes.size() > all || bytes.size() < kReceiveBytes) return fail(Errc::protocol);
    if (spare.empty()) spare.push_back(std::make_unique<Assembly>());
    partial_ = std::move(spare.back());
    spare.pop_back();
    if (partial_->bytes.size() < all) partial_->bytes.resize(all);
    partial_->have = 0;
  }
  const auto all = frame_bytes(header_.meta_bytes, static_cast<std::size_t>(header_.payload_bytes));
  if (bytes.size() > all - partial_->have) return fail(Errc::protocol);
  std::memcpy(partial_->bytes.data() + partial_->have, bytes.data(), bytes.size());
  partial_->have += bytes.size();
  if (partial_->have < all)
    return bytes.size() == kReceiveBytes ? Next::none : fail(Errc::protocol);
  auto view = view_frame(header_, std::span(partial_->bytes).first(all));
  if (!view.ok()) return fail(view.code());
  frame = *view;
  whole = std::move(partial_);
  return Next::frame;
}

Result<std::unique_ptr<Strand>> Strand::create(Rail& rail, std::uint32_t rail_index, bool home,
                                               std::uint32_t name, Counters& counters) {
  SHOAL_ASSIGN(const auto queue, rail.join());
  std::unique_ptr<Strand> strand(new Strand(rail, rail_index, queue, home));
  constexpr std::array<std::uint32_t, kPairsPerLink> kDepths{kMessageDepth, kBulkDepth, kReadDepth};
  strand->pairs_.reserve(kPairsPerLink);
  for (const auto use : {Use::message, Use::bulk, Use::read}) {
    if (!strand->has(use)) continue;
    const auto at = static_cast<std::uint32_t>(use);
    SHOAL_ASSIGN(auto pair, Pair::create(rail, queue, kDepths[at], name + at, counters));
    strand->pairs_.push_back(std::move(pair));
  }
  return strand;
}

Strand::~Strand() {
  for (auto& pair : pairs_) end(pair, [](const Completion&) {});
  pairs_.clear();
  rail.leave(queue);
}

StrandCard Strand::card() const {
  StrandCard card;
  card.port = rail.card();
  card.peer_rail = peer.own_rail;
  const auto first = kPairsPerLink - pairs_.size();
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    card.pair_numbers[first + i] = pairs_[i].number();
    card.first_packets[first + i] = pairs_[i].first_packet();
  }
  card.own_rail = rail_index;
  return card;
}

// A pair of one use talks to the pair of the same use: a READ's answer comes back on its own.
Status Strand::connect(const StrandCard& card) {
  peer = card;
  const auto first = kPairsPerLink - pairs_.size();
  for (std::size_t i = 0; i < pairs_.size(); ++i)
    SHOAL_TRY(
        pairs_[i].connect(card.port, card.pair_numbers[first + i], card.first_packets[first + i]));
  return {};
}

Result<std::unique_ptr<Link>> Link::create(EndpointId id, std::span<const Place> places,
                                           std::uint32_t index, Counters& counters) {
  std::unique_ptr<Link> link(new Link(id, index));
  for (std::uint32_t i = 0; i < places.size(); ++i) {
    const auto& place = places[i];
    const auto name = pair_name(index, i);
    SHOAL_ASSIGN(auto strand, Strand::create(place.rail, place.own_rail, i == 0, name, counters));
    strand->peer.own_rail = place.peer_rail;
    link->strands_.push_back(std::move(strand));
  }
  return link;
}

LinkCard Link::card() const {
  LinkCard card;
  for (const auto& strand : strands_) card.push_back(strand->card());
  return card;
}

Status Link::connect(const LinkCard& peer) {
  ibv_gid gid{};
  std::memcpy(gid.raw, peer.front().port.gid.data(), sizeof gid.raw);
  peer_name = to_string(gid);
  for (std::size_t i = 0; i < strands_.size(); ++i) {
    SHOAL_TRY(strands_[i]->connect(peer[i]));
    if (i != 0) SHOAL_TRY(strands_[i]->pair(Use::bulk).push_probe(packet_bytes()));
  }
  ready = true;
  return {};
}

bool Link::uses(std::uint32_t rail_index) const {
  return std::any_of(strands_.begin(), strands_.end(),
                     [&](const auto& strand) { return strand->rail_index == rail_index; });
}

bool Link::uses(std::uint32_t rail_index, std::size_t queue) const {
  return std::any_of(strands_.begin(), strands_.end(), [&](const auto& strand) {
    return strand->rail_index == rail_index && strand->queue == queue;
  });
}

bool Link::has_pair(std::uint32_t rail_index, std::uint32_t number) const {
  for (const auto& strand : strands_)
    for (const auto& pair : strand->pairs())
      if (strand->rail_index == rail_index && pair.alive() && pair.number() == number) return true;
  return false;
}

Status Link::post() {
  for (const auto& strand : strands_)
    for (auto& pair : strand->pairs())
      if (pair.alive()) SHOAL_TRY(pair.post());
  return {};
}

std::size_t Link::packet_bytes() const {
  return 128u << std::min(home().rail.card().mtu, home().peer.port.mtu);
}

Status Link::push_frame(const FrameHeader& header, std::span<const std::byte> meta,
                        std::span<const ConstMemoryView> payload, Lane lane) {
  if (lane == Lane::message) return home().pair(Use::message).push_frame(header, meta, payload, 0);
  BulkGate::Strands awaits = 0;
  for (std::size_t i = 1; i < strands_.size(); ++i) {
    if (!strands_[i]->written) continue;
    // A token without its frame would let a later one pass too early, so both fit or neither goes.
    if (!strands_[i]->pair(Use::bulk).has_room())
      return Error{Errc::overloaded, "the send queue is full: the peer does not keep up"};
    awaits |= 1u << i;
  }
  SHOAL_TRY(home().pair(Use::bulk).push_frame(header, meta, payload, awaits));
  for (std::size_t i = 1; i < strands_.size(); ++i)
    if (std::exchange(strands_[i]->written, false)) strands_[i]->pair(Use::bulk).push_token();
  return {};
}

}  // namespace shoal::verbs
