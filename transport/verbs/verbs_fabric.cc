#include "transport/verbs/verbs_fabric.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/wire/codec.h"
#include "transport/verbs/verbs.h"

namespace shoal::verbs {

namespace {

static_assert(kMtuCodeMin == IBV_MTU_256 && kMtuCodeMax == IBV_MTU_4096);

Error queue_full(const Link& link) {
  return {Errc::overloaded,
          fmt::format("the send queue to {} is full: the peer does not keep up", link.peer_name)};
}

int access_of(Access access) {
  int flags = 0;
  if (access != Access::write) flags |= IBV_ACCESS_REMOTE_READ;
  if (access != Access::read) flags |= IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_LOCAL_WRITE;
  return flags;
}

/// How much two ports have in common: leading bits of their GIDs. None: they cannot talk.
std::optional<int> affinity(const PortCard& a, const PortCard& b) {
  if (a.link_layer != b.link_layer) return std::nullopt;
  int bits = 0;
  for (std::size_t i = 0; i < a.gid.size(); ++i) {
    const auto different = static_cast<std::uint8_t>(a.gid[i] ^ b.gid[i]);
    bits += std::countl_zero(different);
    if (different != 0) break;
  }
  return bits;
}

Card bytes_of(const LinkCard& card) {
  const auto bytes = std::as_bytes(std::span(&card, 1));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Result<std::unique_ptr<Fabric>> create_fabric(const Api& api, const Filters& filters,
                                              const Clock& clock, Counters* counters) {
  auto table = std::make_unique<Api>(api);
  std::vector<std::unique_ptr<Rail>> rails;
  std::string why_not;
  for (const auto& finding : survey(*table, filters)) {
    if (finding.result.ok() && rails.size() < kRailsMax) {
      auto rail = Rail::open(*table, *finding.result);
      if (rail.ok()) {
        rails.push_back(std::move(rail).value());
        continue;
      }
      why_not += (why_not.empty() ? "" : "; ") + rail.error().message();
    } else if (!finding.result.ok()) {
      why_not += (why_not.empty() ? "" : "; ") + to_string(finding);
    }
  }
  if (rails.empty()) return Error{Errc::unavailable, why_not};
  return std::unique_ptr<Fabric>(
      std::make_unique<VerbsFabric>(std::move(table), std::move(rails), clock, counters));
}

VerbsFabric::VerbsFabric(std::unique_ptr<Api> api, std::vector<std::unique_ptr<Rail>> rails,
                         const Clock& clock, Counters* counters)
    : api_(std::move(api)),
      clock_(clock),
      counters_(counters != nullptr ? *counters : own_counters_),
      rails_(std::move(rails)),
      receivers_(rails_.size()) {}

VerbsFabric::~VerbsFabric() { SHOAL_ASSERT(exposed_.empty(), "a Region outlives its transport"); }

// --- Links ---------------------------------------------------------------------------------------

Result<Link*> VerbsFabric::add_link(EndpointId endpoint, std::uint32_t rail) {
  hear_news(clock_.now());  // or it would be news to the new link
  auto slot = std::find(links_.begin(), links_.end(), nullptr);
  if (slot == links_.end()) slot = links_.insert(slot, nullptr);
  const auto index = static_cast<std::uint32_t>(slot - links_.begin());
  SHOAL_ASSIGN(*slot, Link::create(endpoint, *rails_[rail], rail, index, counters_));
  auto* link = slot->get();
  by_endpoint_.add(*link);
  receivers_[rail][link->pair(Use::message).number()] = {link, Lane::message};
  receivers_[rail][link->pair(Use::bulk).number()] = {link, Lane::bulk};
  return link;
}

void VerbsFabric::remove_link(Link& link) {
  std::erase_if(receivers_[link.rail_index],
                [&](const auto& one) { return one.second.link == &link; });
  by_endpoint_.remove(link);
  links_[link.index].reset();
}

void VerbsFabric::mark_dirty(Link& link) {
  if (link.dirty) return;
  link.dirty = true;
  dirty_.push_back(link.id);
}

Card VerbsFabric::offer() const {
  Card card(sizeof(std::uint32_t) + rails_.size() * sizeof(PortCard));
  Writer out(card);
  out.put(static_cast<std::uint32_t>(rails_.size()));
  for (const auto& rail : rails_) {
    auto port = rail->card();
    if (!rail->usable().ok()) port.link_layer = kNoLinkLayer;
    out.put(port);
  }
  return card;
}

// The ports whose addresses have most in common are most likely to reach each other.
Result<Card> VerbsFabric::begin(EndpointId endpoint, std::span<const std::byte> offer) {
  owner_.check();
  SHOAL_ASSIGN(const auto ports, parse_ports(offer));
  std::vector<Status> usable;
  for (const auto& rail : rails_) usable.push_back(rail->usable());
  const auto down = std::find_if(usable.begin(), usable.end(), [](auto& one) { return !one.ok(); });
  bool peer_usable = false;
  int best = -1;
  std::uint32_t own = 0, theirs = 0;
  for (std::uint32_t i = 0; i < ports.size(); ++i) {
    const auto& port = ports[i];
    peer_usable |= port.link_layer != kNoLinkLayer;
    for (std::uint32_t rail = 0; rail < rails_.size(); ++rail) {
      const auto bits = affinity(rails_[rail]->card(), port);
      if (!bits || *bits <= best || !usable[rail].ok()) continue;
      SHOAL_TRY(check(port));
      best = *bits;
      own = rail;
      theirs = i;
    }
  }
  if (best < 0 && down != usable.end()) return down->error();
  if (best < 0 && !peer_usable) return Error{Errc::unavailable, "the peer's ports are down"};
  if (best < 0)
    return Error{Errc::unavailable,
                 "one side has InfiniBand and the other RoCE: they have no link layer in common"};
  SHOAL_ASSIGN(auto* link, add_link(endpoint, own));
  link->peer.own_rail = theirs;
  return bytes_of(link->card());
}

Result<Card> VerbsFabric::answer(EndpointId endpoint, std::span<const std::byte> begun) {
  owner_.check();
  SHOAL_ASSIGN(const auto card, parse_link_card(begun));
  if (card.peer_rail >= rails_.size())
    return Error{Errc::protocol, "the peer wants a port that was not offered"};
  if (!affinity(rails_[card.peer_rail]->card(), card.port))
    return Error{Errc::protocol, "the peer wants a port of another link layer"};
  SHOAL_ASSIGN(auto* link, add_link(endpoint, card.peer_rail));
  if (auto status = link->connect(card); !status.ok()) {
    remove_link(*link);
    return std::move(status).error();
  }
  return bytes_of(link->card());
}

Status VerbsFabric::finish(EndpointId endpoint, std::span<const std::byte> answer) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || link->ready) return unknown_link();
  SHOAL_ASSIGN(const auto card, parse_link_card(answer));
  if (card.own_rail != link->peer.own_rail || card.peer_rail != link->rail_index)
    return Error{Errc::protocol, "the peer answers with another port"};
  return link->connect(card);
}

// A path that carries small packets and drops large ones (a switch without jumbo frames) shows.
std::size_t VerbsFabric::try_bytes(EndpointId endpoint) const {
  const auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr) return 0;
  return 128u << std::min(link->rail.card().mtu, link->peer.port.mtu);
}

void VerbsFabric::close(EndpointId endpoint) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || link->closing) return;
  link->closing = true;
  for (std::size_t i = 0; i < completed_.size(); ++i) {
    auto& event = completed_[i];
    if (event.endpoint == endpoint && event.kind == Event::Kind::closed) event.endpoint = {};
  }
  link->end_bulk([&](const Completion& done) { complete(*link, done, Errc::closed); });
  if (!link->ready || link->lost != Errc::ok) return;
  if (!link->pair(Use::message).post().ok()) link->lost = Errc::io;
}

bool VerbsFabric::drained(EndpointId endpoint) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || !link->ready || link->lost != Errc::ok) return true;
  auto& pair = link->pair(Use::message);
  if (pair.idle()) return true;
  return !pair.post().ok() || !pair.nudge().ok();
}

void VerbsFabric::drop(EndpointId endpoint) {
  owner_.check();
  if (auto* link = by_endpoint_.find(endpoint)) remove_link(*link);
}

void VerbsFabric::lose(EndpointId endpoint, Errc why) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || link->lost != Errc::ok) return;
  link->lost = why;
  lost_.push_back(endpoint);
}

std::string VerbsFabric::explain(EndpointId endpoint) const {
  const auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr) return {};
  return fmt::format("verbs {} to {}, packets of {} B", to_string(link->rail.port()),
                     link->peer_name, try_bytes(endpoint));
}

// --- Memory --------------------------------------------------------------------------------------

Result<Card> VerbsFabric::expose(std::uint64_t region, MemoryView memory, Access access) {
  owner_.check();
  if (memory.space == MemorySpace::cuda)
    return Error{Errc::registration, "memory of a GPU cannot be registered with verbs"};
  Attached exposed{memory, {}};
  Card card(sizeof(std::uint64_t) + rails_.size() * sizeof(std::uint32_t));
  Writer out(card);
  out.put(reinterpret_cast<std::uint64_t>(memory.data));
  for (const auto& rail : rails_) {
    // No device registers nothing, and transfers of nothing ask for no key.
    if (memory.bytes == 0) {
      out.put(std::uint32_t{0});
      continue;
    }
    SHOAL_ASSIGN(auto registered, rail->register_memory(memory, access_of(access)));
    out.put(registered->rkey);
    exposed.regions.push_back(std::move(registered));
  }
  exposed_.insert_or_assign(region, std::move(exposed));
  return card;
}

void VerbsFabric::conceal(std::uint64_t region) {
  owner_.check();
  exposed_.erase(region);
}

Result<RegionKey> VerbsFabric::import_key(EndpointId endpoint, std::span<const std::byte> card) {
  const auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr) return unknown_link();
  return parse_region_card(card, link->peer.own_rail);
}

Status VerbsFabric::attach(MemoryView memory) {
  owner_.check();
  if (memory.space == MemorySpace::cuda || memory.bytes == 0) return {};
  Attached attached{memory, {}};
  for (const auto& rail : rails_) {
    SHOAL_ASSIGN(auto registered, rail->register_memory(memory, IBV_ACCESS_LOCAL_WRITE));
    attached.regions.push_back(std::move(registered));
  }
  const auto at = std::find_if(attached_.begin(), attached_.end(),
                               [&](const Attached& one) { return one.memory.data > memory.data; });
  attached_.insert(at, std::move(attached));
  last_attached_ = 0;
  return {};
}

void VerbsFabric::detach(MemoryView memory) {
  owner_.check();
  const auto at = std::find_if(attached_.begin(), attached_.end(), [&](const Attached& one) {
    return one.memory.data == memory.data && one.memory.bytes == memory.bytes;
  });
  if (at != attached_.end()) attached_.erase(at);
  last_attached_ = 0;
}

/// 0: not all of it is attached.
std::uint32_t VerbsFabric::local_key(const Link& link, const std::byte* data, std::uint64_t bytes) {
  const auto holds = [&](const Attached& one) {
    return data >= one.memory.data &&
           static_cast<std::uint64_t>(data - one.memory.data) + bytes <= one.memory.bytes;
  };
  if (last_attached_ >= attached_.size() || !holds(attached_[last_attached_])) {
    const auto behind = std::upper_bound(
        attached_.begin(), attached_.end(), data,
        [](const std::byte* at, const Attached& one) { return at < one.memory.data; });
    if (behind == attached_.begin() || !holds(*(behind - 1))) return 0;
    last_attached_ = static_cast<std::size_t>(behind - attached_.begin()) - 1;
  }
  return attached_[last_attached_].regions[link.rail_index]->lkey;
}

// --- Moving bytes --------------------------------------------------------------------------------

void VerbsFabric::complete(const Link& link, const Completion& completion, Errc status) {
  completed_.push_back(ended_event(link.id, completion.kind, completion.context,
                                   completion.failed != Errc::ok ? completion.failed : status));
}

// A frame is copied, so that its payload may be reused at once.
Status VerbsFabric::send(EndpointId endpoint, const FrameHeader& header,
                         std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                         const Transport::SendOptions& options) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  SHOAL_ASSIGN(const auto sealed, seal_frame(header, meta, payload, options.copy_payload));
  auto& pair = link->pair(options.lane == Lane::bulk ? Use::bulk : Use::message);
  SHOAL_TRY(pair.push_frame(sealed, meta, payload));
  if (options.context != 0) complete(*link, {true, Event::Kind::sent, options.context}, Errc::ok);
  mark_dirty(*link);
  return {};
}

Status VerbsFabric::read(EndpointId endpoint, MemoryView to, const RegionKey& key,
                         std::uint64_t offset, std::uint64_t context) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  auto& pair = link->pair(Use::read);
  if (!pair.has_room()) return queue_full(*link);
  pair.push_read({to.data, to.bytes, local_key(*link, to.data, to.bytes)},
                 {key.words[0] + offset, static_cast<std::uint32_t>(key.words[1])},
                 {true, Event::Kind::read_done, context});
  mark_dirty(*link);
  return {};
}

Status VerbsFabric::write(EndpointId endpoint, ConstMemoryView from, const RegionKey& key,
                          std::uint64_t offset, std::uint64_t context) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  auto& pair = link->pair(Use::bulk);
  if (!pair.has_room()) return queue_full(*link);
  // The device only reads it.
  auto* data = const_cast<std::byte*>(from.data);
  pair.push_write({data, from.bytes, local_key(*link, data, from.bytes)},
                  {key.words[0] + offset, static_cast<std::uint32_t>(key.words[1])},
                  {true, Event::Kind::write_done, context});
  mark_dirty(*link);
  return {};
}

}  // namespace shoal::verbs
