#include "transport/ucx/ucx_fabric.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <string>

#include "core/base/log.h"
#include "core/wire/codec.h"
#include "transport/reasons.h"
#include "transport/ucx/packer.h"
#include "transport/ucx/ucx.h"

namespace shoal::ucx {

namespace {

/// Of this host, since it was started: the first half of its boot_id, which containers share. 0:
/// unknown.
std::uint64_t host_number() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  std::erase(id, '-');
  return std::strtoull(id.substr(0, 16).c_str(), nullptr, 16);
}

}  // namespace

Result<std::unique_ptr<Fabric>> create_fabric(const Api& api, const Options& options,
                                              const Clock& clock) {
  auto table = std::make_unique<Api>(api);
  SHOAL_ASSIGN(auto context, Context::create(*table, options));
  SHOAL_ASSIGN(auto wait_set, WaitSet::create());
  SHOAL_ASSIGN(const auto packed, create_packed_type(*table));
  return std::unique_ptr<Fabric>(std::make_unique<UcxFabric>(
      std::move(table), std::move(context), packed, std::move(wait_set), options, clock));
}

UcxFabric::UcxFabric(std::unique_ptr<Api> api, std::unique_ptr<Context> context,
                     ucp_datatype_t packed, WaitSet wait_set, const Options& options,
                     const Clock& clock)
    : api_(std::move(api)),
      clock_(clock),
      other_hosts_(options.other_hosts),
      pins_(options.pins),
      host_(host_number()),
      context_(std::move(context)),
      wait_set_(std::move(wait_set)),
      shared_(*context_, packed) {}

// UCX aborts the process if it is to destroy a worker that still holds something.
UcxFabric::~UcxFabric() {
  SHOAL_ASSERT(shared_.exposed.empty(), "a Region outlives its transport");
  while (!links_.empty()) remove_link(*links_.back());
  const auto deadline = deadline_after(clock_.now(), kBurial);
  while (!graves_.empty() && clock_.now() < deadline) tend_graves();
  for (auto& grave : graves_) {
    log_warn("ucx", "UCX does not let go of a worker: it is left behind");
    (void)grave.release();
  }
  api_->dt_destroy(shared_.packed);
}

// --- Links ---------------------------------------------------------------------------------------

Result<Link*> UcxFabric::add_link(EndpointId endpoint) {
  if (links_.size() + graves_.size() >= kLinksMax)
    return Error{Errc::unavailable,
                 fmt::format("there are {} links already, as many as one process has", kLinksMax)};
  SHOAL_TRY(try_thread_and_descriptors());
  SHOAL_TRY(check_descriptor_share());
  if (pins_) SHOAL_TRY(check_pins());
  SHOAL_ASSIGN(auto link, Link::create(endpoint, free_turnstile(), shared_));
  SHOAL_TRY(wait_set_.add(link->fd()));
  by_endpoint_.add(*link);
  links_.push_back(std::move(link));
  return links_.back().get();
}

/// There are as many as links.
std::size_t UcxFabric::free_turnstile() const {
  std::array<bool, kLinksMax> taken{};
  for (const auto& link : links_) taken[link->turnstile] = true;
  for (const auto& grave : graves_) taken[grave->turnstile] = true;
  return static_cast<std::size_t>(std::find(taken.begin(), taken.end(), false) - taken.begin());
}

void UcxFabric::admit(const Link& link) {
  for (const auto& [region, exposed] : shared_.exposed)
    if (exposed.pages != nullptr) link.admit(region, *exposed.pages);
}

/// From here on its peer copies nothing into pages of ours.
void UcxFabric::bar(const Link& link) {
  for (const auto& [region, exposed] : shared_.exposed)
    if (exposed.pages != nullptr) exposed.pages->bar(link.turnstile, clock_);
}

/// Its events are on their way; of what UCX still does for it nobody hears.
void UcxFabric::remove_link(Link& link) {
  bar(link);
  by_endpoint_.remove(link);
  const auto at = std::find_if(links_.begin(), links_.end(),
                               [&](const auto& one) { return one.get() == &link; });
  auto dying = std::move(*at);
  links_.erase(at);
  dying->bury();
  graves_.push_back(std::move(dying));
}

void UcxFabric::destroy(std::unique_ptr<Link> link) {
  wait_set_.remove(link->fd());
  link.reset();
}

Card UcxFabric::offer() const {
  Card card(sizeof(OfferCard));
  Writer out(card);
  out.put(kWireVersion);
  out.put(std::uint32_t{other_hosts_});
  out.put(host_);
  return card;
}

Result<Card> UcxFabric::begin(EndpointId endpoint, std::span<const std::byte> offer) {
  owner_.check();
  Reader in(offer);
  const auto version = in.get<std::uint32_t>();
  if (offer.size() < sizeof version) SHOAL_TRY(in.finish("offer of UCX"));
  if (version != kWireVersion)
    return Error{Errc::unavailable, fmt::format("the peer speaks version {} over UCX, we speak {}",
                                                version, kWireVersion)};
  const bool other_hosts = in.get<std::uint32_t>() != 0 && other_hosts_;
  const auto host = in.get<std::uint64_t>();
  SHOAL_TRY(in.finish("offer of UCX"));
  if (host != host_ && !other_hosts)
    return Error{Errc::out_of_range,
                 "the peer is on another host, where UCX leads by RDMA devices only"};
  SHOAL_ASSIGN(auto* link, add_link(endpoint));
  auto card = link->card();
  if (!card.ok()) remove_link(*link);
  return card;
}

Result<Card> UcxFabric::answer(EndpointId endpoint, std::span<const std::byte> begun) {
  owner_.check();
  SHOAL_ASSIGN(auto* link, add_link(endpoint));
  auto status = link->connect(begun);
  auto card = status.ok() ? link->card() : std::move(status).error();
  if (card.ok())
    admit(*link);
  else
    remove_link(*link);
  return card;
}

Status UcxFabric::finish(EndpointId endpoint, std::span<const std::byte> answer) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || link->ready) return unknown_link();
  SHOAL_TRY(link->connect(answer));
  admit(*link);
  return {};
}

// Two packets, the first of them full.
std::size_t UcxFabric::try_bytes(EndpointId endpoint) const {
  const auto* link = by_endpoint_.find(endpoint);
  return link != nullptr ? link->packet_bytes() * 3 / 2 : 0;
}

void UcxFabric::close(EndpointId endpoint) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || link->closing) return;
  link->closing = true;
  bar(*link);
  link->end_loans(Errc::closed);
  if (link->ready && link->lost == Errc::ok) link->say_bye();
}

bool UcxFabric::drained(EndpointId endpoint) {
  owner_.check();
  const auto* link = by_endpoint_.find(endpoint);
  return link == nullptr || link->drained();
}

void UcxFabric::drop(EndpointId endpoint) {
  owner_.check();
  if (auto* link = by_endpoint_.find(endpoint)) remove_link(*link);
}

void UcxFabric::lose(EndpointId endpoint, Errc why) {
  owner_.check();
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr || link->lost != Errc::ok) return;
  link->lost = why;
  shared_.lost.push_back(endpoint);
}

std::string UcxFabric::explain(EndpointId endpoint) const {
  const auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr) return {};
  const auto shared = link->mapped();
  return fmt::format("ucx {} over {}, packets of {} B{}", version_of(*api_), link->way(),
                     link->packet_bytes(),
                     shared == 0 ? "" : fmt::format(", {} of its buffers mapped", shared));
}

/// Of the devices that are left UCX itself chooses.
std::string UcxFabric::explain_unused(EndpointId /*endpoint*/) const {
  return both(fmt::format("{}", fmt::join(context_->left_out(), "; ")),
              memory_left_out(context_->memory_types()));
}

// --- Memory --------------------------------------------------------------------------------------

Result<Card> UcxFabric::expose(std::uint64_t region, MemoryView memory, Access access) {
  owner_.check();
  if (memory.space == MemorySpace::cuda)
    return Error{Errc::registration, "memory of a GPU cannot be reached over UCX yet"};
  auto* pages = pool_.find(memory);
  if (pages != nullptr && !pages->take(region)) pages = nullptr;
  shared_.exposed.insert_or_assign(region, Exposed{memory, access, pages});
  Card card(sizeof region + (pages != nullptr ? sizeof(SharedCard) : 0));
  Writer out(card);
  out.put(region);
  if (pages == nullptr) return card;
  out.put(pages->card(memory));
  for (const auto& link : links_)
    if (link->ready && !link->closing && link->lost == Errc::ok) link->admit(region, *pages);
  return card;
}

void UcxFabric::conceal(std::uint64_t region) {
  owner_.check();
  const auto at = shared_.exposed.find(region);
  if (at == shared_.exposed.end()) return;
  if (at->second.pages != nullptr) at->second.pages->give_back(clock_);
  shared_.exposed.erase(at);
  for (const auto& link : links_) link->forget(region);
}

Result<RegionKey> UcxFabric::import_key(EndpointId endpoint, std::span<const std::byte> card) {
  auto* link = by_endpoint_.find(endpoint);
  if (link == nullptr) return unknown_link();
  Reader in(card);
  RegionKey key;
  key.words[0] = in.get<std::uint64_t>();
  const bool shared = in.ok() && in.left() > 0;
  const auto pages = shared ? in.get<SharedCard>() : SharedCard{};
  SHOAL_TRY(in.finish("key of a region"));
  if (shared) key.words[1] = link->map(key.words[0], pages);
  return key;
}

void UcxFabric::forget_key(EndpointId endpoint, const RegionKey& key) {
  if (auto* link = by_endpoint_.find(endpoint)) link->unmap(key.words[1]);
}

// --- Moving bytes --------------------------------------------------------------------------------

// A frame is copied, so that its payload may be reused at once.
Status UcxFabric::send(EndpointId endpoint, const FrameHeader& header,
                       std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                       const Transport::SendOptions& options) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  auto sealed = header;
  SHOAL_TRY(seal_frame(sealed, meta, payload, options.copy_payload, link->checksum()));
  SHOAL_TRY(link->send(sealed, meta, payload, options.lane));
  if (options.context != 0)
    shared_.completed.push_back(
        ended_event(endpoint, Event::Kind::sent, options.context, Errc::ok));
  return {};
}

Status UcxFabric::read(EndpointId endpoint, MemoryView to, const RegionKey& key,
                       std::uint64_t offset, std::uint64_t context) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  return link->read(to, key.words[0], key.words[1], offset, context);
}

bool UcxFabric::read_in_place(EndpointId endpoint, const RegionKey& key, std::uint64_t offset,
                              std::size_t bytes, const Transport::Use& use) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  return link != nullptr && link->read_in_place(key.words[0], key.words[1], offset, bytes, use);
}

Status UcxFabric::write(EndpointId endpoint, ConstMemoryView from, const RegionKey& key,
                        std::uint64_t offset, std::uint64_t context) {
  owner_.check();
  auto* link = by_endpoint_.find_usable(endpoint);
  if (link == nullptr) return unknown_link();
  return link->write(from, key.words[0], key.words[1], offset, context);
}

}  // namespace shoal::ucx
