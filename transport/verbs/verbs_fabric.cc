#include "transport/verbs/verbs_fabric.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/wire/codec.h"
#include "transport/reasons.h"
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

Card bytes_of(const LinkCard& card) {
  const auto bytes = std::as_bytes(std::span(card));
  return {bytes.begin(), bytes.end()};
}

}  // namespace

Result<std::unique_ptr<Fabric>> create_fabric(const Api& api, const Filters& filters,
                                              const Clock& clock, Counters* counters,
                                              DmaBufExporter* exporter, Numa numa) {
  auto table = std::make_unique<Api>(api);
  std::vector<std::unique_ptr<Rail>> rails;
  std::string why_not;
  for (const auto& finding : survey(*table, filters)) {
    if (!finding.result.ok()) {
      why_not = both(why_not, to_string(finding));
    } else if (rails.size() == kRailsMax) {
      why_not =
          both(why_not, fmt::format("{} port {}: {} others are open already: 'devices' chooses",
                                    finding.device, finding.port, kRailsMax));
    } else if (auto rail = Rail::open(*table, *finding.result); rail.ok()) {
      rails.push_back(std::move(rail).value());
    } else {
      why_not = both(why_not, sentence_of(rail.error()));
    }
  }
  if (rails.empty()) return Error{Errc::unavailable, why_not};
  return std::unique_ptr<Fabric>(
      std::make_unique<VerbsFabric>(std::move(table), std::move(rails), std::move(why_not),
                                    std::clamp(filters.rails, std::size_t{1}, kStrandsMax), clock,
                                    counters, exporter, std::move(numa)));
}

VerbsFabric::VerbsFabric(std::unique_ptr<Api> api, std::vector<std::unique_ptr<Rail>> rails,
                         std::string left_out, std::size_t strands_max, const Clock& clock,
                         Counters* counters, DmaBufExporter* exporter, Numa numa)
    : api_(std::move(api)),
      left_out_(std::move(left_out)),
      strands_max_(strands_max),
      numa_(std::move(numa)),
      clock_(clock),
      counters_(counters != nullptr ? *counters : own_counters_),
      exporter_(exporter),
      rails_(std::move(rails)),
      receivers_(rails_.size()),
      suspect_until_(rails_.size(), TimePoint::min()) {}

VerbsFabric::~VerbsFabric() { SHOAL_ASSERT(exposed_.empty(), "a Region outlives its transport"); }

// --- Links ---------------------------------------------------------------------------------------

/// Whether new links should use a rail: one that is suspect only if all are. Errors: unavailable.
Status VerbsFabric::usable(std::uint32_t rail) const {
  SHOAL_TRY(rails_[rail]->usable());
  const auto now = clock_.now();
  if (suspect_until_[rail] <= now) return {};
  for (std::uint32_t other = 0; other < rails_.size(); ++other)
    if (suspect_until_[other] <= now && rails_[other]->usable().ok())
      return Error{Errc::unavailable,
                   fmt::format("{} port {}: its last link carried nothing",
                               rails_[rail]->port().device, rails_[rail]->port().number)};
  return {};
}

void VerbsFabric::suspect(std::uint32_t rail) { suspect_until_[rail] = clock_.now() + kSuspectFor; }

Result<Link*> VerbsFabric::add_link(EndpointId endpoint, std::span<const Pairing> pairings) {
  hear_news(clock_.now());  // or it would be news to the new link
  auto slot = std::find(links_.begin(), links_.end(), nullptr);
  if (slot == links_.end()) slot = links_.insert(slot, nullptr);
  const auto index = static_cast<std::uint32_t>(slot - links_.begin());
  std::vector<Link::Place> places;
  for (const auto& [own, theirs] : pairings) places.push_back({*rails_[own], own, theirs});
  SHOAL_ASSIGN(*slot, Link::create(endpoint, places, index, counters_));
  auto* link = slot->get();
  by_endpoint_.add(*link);
  for (std::size_t i = 0; i < places.size(); ++i) {
    auto& strand = *link->strands()[i];
    auto& receivers = receivers_[strand.rail_index];
    if (i == 0) receivers[strand.pair(Use::message).number()] = {link, i, Lane::message};
    receivers[strand.pair(Use::bulk).number()] = {link, i, Lane::bulk};
  }
  return link;
}

// A strand that brought nothing, though others did or it was tried alone, may be cut off.
void VerbsFabric::remove_link(Link& link) {
  const auto strands = link.strands();
  const bool heard =
      std::any_of(strands.begin(), strands.end(), [](const auto& strand) { return strand->heard; });
  if (link.ready && (heard || strands.size() == 1))
    for (const auto& strand : strands)
      if (!strand->heard) suspect(strand->rail_index);
  for (auto& receivers : receivers_)
    std::erase_if(receivers, [&](const auto& one) { return one.second.link == &link; });
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
  for (std::uint32_t rail = 0; rail < rails_.size(); ++rail) {
    auto port = rails_[rail]->card();
    if (!usable(rail).ok()) port.link_layer = kNoLinkLayer;
    out.put(port);
  }
  return card;
}

Result<Card> VerbsFabric::begin(EndpointId endpoint, std::span<const std::byte> offer) {
  owner_.check();
  SHOAL_ASSIGN(const auto theirs, parse_ports(offer));
  std::vector<OwnPort> own;
  Status down;
  for (std::uint32_t rail = 0; rail < rails_.size(); ++rail) {
    const auto node = rails_[rail]->port().numa_node;
    own.push_back({rails_[rail]->card(), numa_.distances.between(numa_.home_node, node)});
    if (auto status = usable(rail); !status.ok()) {
      own.back().card.link_layer = kNoLinkLayer;
      if (down.ok()) down = std::move(status);
    }
  }
  SHOAL_ASSIGN(const auto pairings, choose_pairings(own, theirs, strands_max_));
  if (pairings.empty()) {
    SHOAL_TRY(down);
    const bool peer_down = std::all_of(theirs.begin(), theirs.end(), [](const PortCard& port) {
      return port.link_layer == kNoLinkLayer;
    });
    return Error{Errc::unavailable,
                 peer_down ? "the peer's ports are down"
                           : "one side has InfiniBand and the other RoCE: they have no link layer "
                             "in common"};
  }
  SHOAL_ASSIGN(auto* link, add_link(endpoint, pairings));
  link->passed_over = words_of_others(*link, [&](std::uint32_t rail) {
    return why_not_chosen(rail, own, theirs, pairings, strands_max_);
  });
  return bytes_of(link->card());
}

Result<Card> VerbsFabric::answer(EndpointId endpoint, std::span<const std::byte> begun) {
  owner_.check();
  SHOAL_ASSIGN(const auto card, parse_link_card(begun));
  std::vector<Pairing> pairings;
  for (const auto& strand : card) {
    if (strand.peer_rail >= rails_.size())
      return Error{Errc::protocol, "the peer wants a port that was not offered"};
    if (!can_talk(rails_[strand.peer_rail]->card(), strand.port))
      return Error{Errc::protocol, "the peer wants a port of another link layer"};
    pairings.push_back({strand.peer_rail, strand.own_rail});
  }
  SHOAL_ASSIGN(auto* link, add_link(endpoint, pairings));
  if (auto status = link->connect(card); !status.ok()) {
    remove_link(*link);
    return std::move(status).error();
  }
  link->passed_over = words_of_others(
      *link, [](std::uint32_t) { return "the peer, which connected, chose others"; });
  return bytes_of(link->card());
}

/// Of our ports without a strand of the link: `why_not` says why those that could have one do not.
std::string VerbsFabric::words_of_others(
    const Link& link, const std::function<std::string(std::uint32_t rail)>& why_not) const {
  std::string text;
  for (std::uint32_t rail = 0; rail < rails_.size(); ++rail) {
    if (link.uses(rail)) continue;
    const auto status = usable(rail);
    const auto& port = rails_[rail]->port();
    text = both(text, status.ok()
                          ? fmt::format("{} port {}: {}", port.device, port.number, why_not(rail))
                          : status.error().what);
  }
  return text;
}

Status VerbsFabric::finish(EndpointId endpoint, std::span<const std::byte> answer) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || link->ready) return unknown_link();
  SHOAL_ASSIGN(const auto card, parse_link_card(answer));
  bool same = card.size() == link->strands().size();
  for (std::size_t i = 0; same && i < card.size(); ++i) {
    const auto& strand = *link->strands()[i];
    same = card[i].own_rail == strand.peer.own_rail && card[i].peer_rail == strand.rail_index;
  }
  if (!same) return Error{Errc::protocol, "the peer answers with other ports"};
  return link->connect(card);
}

// A path that carries small packets and drops large ones (a switch without jumbo frames) shows.
std::size_t VerbsFabric::try_bytes(EndpointId endpoint) const {
  const auto* link = by_endpoint_.find(endpoint);
  return link != nullptr ? link->packet_bytes() : 0;
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
  if (!link->home().pair(Use::message).post().ok()) link->lost = Errc::io;
}

bool VerbsFabric::drained(EndpointId endpoint) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || !link->ready || link->lost != Errc::ok) return true;
  auto& pair = link->home().pair(Use::message);
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
  auto text = fmt::format("verbs {} to {}, packets of {} B", to_string(link->home().rail.port()),
                          link->peer_name, link->packet_bytes());
  for (const auto& strand : link->strands().subspan(1))
    text += fmt::format(", and {} port {}", strand->rail.port().device, strand->rail.port().number);
  return text;
}

std::string VerbsFabric::explain_unused(EndpointId endpoint) const {
  const auto* link = by_endpoint_.find(endpoint);
  return both(link != nullptr ? std::string_view(link->passed_over) : std::string_view(),
              left_out_);
}

// --- Memory --------------------------------------------------------------------------------------

Result<Card> VerbsFabric::expose(std::uint64_t region, MemoryView memory, Access access) {
  return expose(region, memory, access, Paging::pinned);
}

Result<Card> VerbsFabric::expose_on_demand(std::uint64_t region, MemoryView memory, Access access) {
  return expose(region, memory, access, pages_on_demand() ? Paging::on_demand : Paging::pinned);
}

Result<Card> VerbsFabric::expose(std::uint64_t region, MemoryView memory, Access access,
                                 Paging paging) {
  owner_.check();
  Attached exposed{memory, {}, -1};
  // No device registers nothing, and transfers of nothing ask for no key.
  if (memory.bytes != 0) {
    SHOAL_ASSIGN(exposed.regions,
                 register_with(rails_, memory, access_of(access), paging, exporter_));
  }
  Card card(sizeof(std::uint64_t) + rails_.size() * sizeof(std::uint32_t));
  Writer out(card);
  out.put(reinterpret_cast<std::uint64_t>(memory.data));
  for (std::size_t i = 0; i < rails_.size(); ++i)
    out.put(memory.bytes == 0 ? std::uint32_t{0} : exposed.regions[i]->rkey);
  exposed_.insert_or_assign(region, std::move(exposed));
  return card;
}

bool VerbsFabric::pages_on_demand() const {
  return std::all_of(rails_.begin(), rails_.end(),
                     [](const auto& rail) { return rail->port().pages_on_demand; });
}

void VerbsFabric::conceal(std::uint64_t region) {
  owner_.check();
  exposed_.erase(region);
}

Result<RegionKey> VerbsFabric::import_key(EndpointId endpoint, std::span<const std::byte> card) {
  const auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr) return unknown_link();
  std::array<std::uint32_t, kStrandsMax> rails{};
  const auto strands = link->strands();
  for (std::size_t i = 0; i < strands.size(); ++i) rails[i] = strands[i]->peer.own_rail;
  return parse_region_card(card, std::span(rails).first(strands.size()));
}

Status VerbsFabric::attach(MemoryView memory) {
  owner_.check();
  if (memory.bytes == 0) return {};
  const bool of_gpu = memory.space == MemorySpace::cuda;
  Attached attached{memory, {}, of_gpu ? -1 : numa_.node_of_memory(memory.data)};
  SHOAL_ASSIGN(attached.regions,
               register_with(rails_, memory, IBV_ACCESS_LOCAL_WRITE, Paging::pinned, exporter_));
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

/// null: not all of it is attached.
const VerbsFabric::Attached* VerbsFabric::find_attached(const std::byte* data,
                                                        std::uint64_t bytes) {
  const auto holds = [&](const Attached& one) {
    return data >= one.memory.data &&
           static_cast<std::uint64_t>(data - one.memory.data) + bytes <= one.memory.bytes;
  };
  if (last_attached_ >= attached_.size() || !holds(attached_[last_attached_])) {
    const auto behind = std::upper_bound(
        attached_.begin(), attached_.end(), data,
        [](const std::byte* at, const Attached& one) { return at < one.memory.data; });
    if (behind == attached_.begin() || !holds(*(behind - 1))) return nullptr;
    last_attached_ = static_cast<std::size_t>(behind - attached_.begin()) - 1;
  }
  return &attached_[last_attached_];
}

// --- Moving bytes --------------------------------------------------------------------------------

void VerbsFabric::complete(Link& link, const Completion& completion, Errc status) {
  Completion whole = completion;
  const auto failed = completion.failed != Errc::ok ? completion.failed : status;
  if (completion.split != 0) {
    if (!link.splits.end(completion.split, failed, whole)) return;
  } else {
    whole.failed = failed;
  }
  completed_.push_back(ended_event(link.id, whole.kind, whole.context, whole.failed));
}

// A frame is copied, so that its payload may be reused at once.
Status VerbsFabric::send(EndpointId endpoint, const FrameHeader& header,
                         std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                         const Transport::SendOptions& options) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  auto sealed = header;
  SHOAL_TRY(seal_frame(sealed, meta, payload, options.copy_payload));
  SHOAL_TRY(link->push_frame(sealed, meta, payload, options.lane));
  if (options.context != 0) complete(*link, {true, Event::Kind::sent, options.context}, Errc::ok);
  mark_dirty(*link);
  return {};
}

Status VerbsFabric::read(EndpointId endpoint, MemoryView to, const RegionKey& key,
                         std::uint64_t offset, std::uint64_t context) {
  return transfer(endpoint, Use::read, to, key, offset, {true, Event::Kind::read_done, context});
}

// The device only reads `from`.
Status VerbsFabric::write(EndpointId endpoint, ConstMemoryView from, const RegionKey& key,
                          std::uint64_t offset, std::uint64_t context) {
  const MemoryView own{const_cast<std::byte*>(from.data), from.bytes, from.space, from.device};
  return transfer(endpoint, Use::bulk, own, key, offset, {true, Event::Kind::write_done, context});
}

/// Small transfers stay at home; of others the first part goes over the device that is nearest to
/// the memory, and over equals in turn.
std::size_t VerbsFabric::first_strand(Link& link, std::uint64_t bytes,
                                      const Attached* attached) const {
  const auto strands = link.strands();
  if (strands.size() == 1 || bytes < kHomeBytes) return 0;
  const auto node = attached != nullptr ? attached->numa_node : -1;
  const auto distance = [&](std::size_t i) {
    return numa_.distances.between(node, strands[i]->rail.port().numa_node);
  };
  auto best = link.next_strand;
  for (std::size_t i = 1; i < strands.size(); ++i) {
    const auto other = (link.next_strand + i) % strands.size();
    if (distance(other) < distance(best)) best = other;
  }
  link.next_strand = (best + 1) % strands.size();
  return best;
}

Status VerbsFabric::transfer(EndpointId endpoint, Use use, MemoryView own, const RegionKey& key,
                             std::uint64_t offset, Completion completion) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  const auto strands = link->strands();
  const auto* attached = find_attached(own.data, own.bytes);
  if (own.space == MemorySpace::cuda && attached == nullptr && own.bytes != 0)
    return Error{Errc::registration, "memory of a GPU moves only while it is attached"};
  const auto first = first_strand(*link, own.bytes, attached);
  const auto parts = std::clamp<std::size_t>(own.bytes / kPartBytes, 1, strands.size());
  const auto strand_of = [&](std::size_t part) { return (first + part) % strands.size(); };
  for (std::size_t part = 0; part < parts; ++part)
    if (!strands[strand_of(part)]->pair(use).has_room()) return queue_full(*link);
  if (parts > 1)
    completion.split = link->splits.open(completion, static_cast<std::uint32_t>(parts));
  const auto pages = (own.bytes + kPage - 1) / kPage;
  const auto part_bytes = parts == 1 ? own.bytes : (pages + parts - 1) / parts * kPage;
  for (std::size_t part = 0; part < parts; ++part) {
    const auto at = part * part_bytes;
    const auto index = strand_of(part);
    auto& strand = *strands[index];
    const auto lkey = attached != nullptr ? attached->regions[strand.rail_index]->lkey : 0;
    strand.pair(use).push_transfer(
        use == Use::read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
        {own.data + at, std::min<std::uint64_t>(own.bytes - at, part_bytes), lkey},
        {key.words[0] + offset + at, rkey_of(key, index)}, completion);
    strand.written |= use == Use::bulk;
  }
  mark_dirty(*link);
  return {};
}

}  // namespace shoal::verbs
