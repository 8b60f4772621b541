#include "transport/verbs/link.h"

#include <arpa/inet.h>

#include <cstring>

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

Result<std::unique_ptr<Link>> Link::create(EndpointId id, Rail& rail, std::uint32_t rail_index,
                                           std::uint32_t index, Counters& counters) {
  SHOAL_ASSIGN(const auto queue, rail.join());
  std::unique_ptr<Link> link(new Link(id, rail, rail_index, queue, index, {}));
  constexpr std::array<std::uint32_t, kPairsPerLink> kDepths{kMessageDepth, kBulkDepth, kReadDepth};
  link->pairs_.reserve(kPairsPerLink);
  for (std::uint32_t use = 0; use < kPairsPerLink; ++use) {
    const auto name = index * std::uint32_t{kPairsPerLink} + use + 1;  // 0: receives
    SHOAL_ASSIGN(auto pair, Pair::create(rail, queue, kDepths[use], name, counters));
    link->pairs_.push_back(std::move(pair));
  }
  return link;
}

Link::~Link() {
  for (std::size_t use = 0; use < pairs_.size(); ++use)
    end(static_cast<Use>(use), [](const Completion&) {});
  pairs_.clear();
  rail.leave(queue);
}

LinkCard Link::card() const {
  LinkCard card;
  card.port = rail.card();
  card.peer_rail = peer.own_rail;
  for (std::size_t i = 0; i < kPairsPerLink; ++i) {
    card.pair_numbers[i] = pairs_[i].number();
    card.first_packets[i] = pairs_[i].first_packet();
  }
  card.own_rail = rail_index;
  return card;
}

// A pair of one use talks to the pair of the same use: a READ's answer comes back on its own.
Status Link::connect(const LinkCard& card) {
  peer = card;
  char text[INET6_ADDRSTRLEN] = "";
  constexpr std::array<std::uint8_t, 12> kIpv4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const auto* gid = card.port.gid.data();
  if (std::memcmp(gid, kIpv4.data(), kIpv4.size()) == 0)
    ::inet_ntop(AF_INET, gid + kIpv4.size(), text, sizeof text);
  else
    ::inet_ntop(AF_INET6, gid, text, sizeof text);
  peer_name = text;
  for (std::size_t i = 0; i < kPairsPerLink; ++i)
    SHOAL_TRY(pairs_[i].connect(card.port, card.pair_numbers[i], card.first_packets[i]));
  ready = true;
  return {};
}

}  // namespace shoal::verbs
