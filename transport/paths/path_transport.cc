#include "transport/paths/path_transport.h"

#include <fmt/core.h>

#include <algorithm>

namespace shoal::paths {

namespace {

/// How long a closed link may take to send what was posted before: an error's answer, a good-bye.
constexpr Duration kLinger = std::chrono::seconds(1);

Error not_up() { return {Errc::closed, "the connection is closed, or not up yet"}; }

Error lengths_differ(std::string_view operation) {
  return {Errc::invalid_argument,
          fmt::format("a {} needs memory of the same length as the remote span", operation)};
}

std::string name_with(const std::vector<std::unique_ptr<Fabric>>& fabrics) {
  std::string name;
  for (const auto& fabric : fabrics) name += std::string(fabric->name()) + ",";
  return name + "tcp";
}

}  // namespace

std::string words_of(std::string_view no_faster_path, std::string_view not_used) {
  return fmt::format("{}{}{}{}", no_faster_path.empty() ? "" : "; no faster path: ", no_faster_path,
                     not_used.empty() ? "" : "; not used: ", not_used);
}

Result<std::unique_ptr<Transport>> create_paths(PathOptions options, const Clock& clock) {
  options.tcp.paths = !options.fabrics.empty();
  SHOAL_ASSIGN(auto tcp, tcp::TcpTransport::create(options.tcp, clock));
  return std::unique_ptr<Transport>(
      std::make_unique<PathTransport>(std::move(options), std::move(tcp), clock));
}

PathTransport::PathTransport(PathOptions options, std::unique_ptr<tcp::TcpTransport> tcp,
                             const Clock& clock)
    : clock_(clock),
      name_(name_with(options.fabrics)),
      fabric_required_(options.fabric_required),
      missing_(std::move(options.missing)),
      left_out_(std::move(options.left_out)),
      try_timeout_(options.try_timeout),
      tcp_(std::move(tcp)),
      fabrics_(std::move(options.fabrics)) {
  for (const auto& fabric : fabrics_)
    for (const int fd : fabric->wait_fds()) tcp_->watch_also(fd);
}

PathTransport::~PathTransport() {
  SHOAL_ASSERT(regions_.empty(), "a Region outlives its transport");
}

void PathTransport::release_owner() {
  owner_.release();
  tcp_->release_owner();
  for (const auto& fabric : fabrics_) fabric->release_owner();
}

// --- Endpoints -----------------------------------------------------------------------------------

PathTransport::Path* PathTransport::find(EndpointId endpoint) const {
  const auto* found = paths_.find(endpoint);
  return found != nullptr ? found->get() : nullptr;
}

PathTransport::Path& PathTransport::add_path(EndpointId endpoint, Stage stage) {
  auto& path = paths_[endpoint];
  path = std::make_unique<Path>();
  path->id = endpoint;
  path->stage = stage;
  return *path;
}

void PathTransport::forget(Path& path) {
  if (path.stage == Stage::fabric) --on_fabric_;
  if (path.control) --on_control_;
  paths_.erase(path.id);
}

/// expire() sees to the path, at `when` at the latest.
void PathTransport::look_at(Path& path, TimePoint when) {
  timer_ = std::min(timer_, when);
  unsettled_.push_back(path.id);
}

Result<EndpointId> PathTransport::connect(const Address& peer, TimePoint deadline) {
  owner_.check();
  SHOAL_ASSIGN(const auto endpoint, tcp_->connect(peer, deadline));
  auto& path = add_path(endpoint, Stage::connecting);
  path.connector = true;
  path.connect_deadline = deadline;
  return endpoint;
}

void PathTransport::close(EndpointId endpoint) {
  owner_.check();
  auto* path = find(endpoint);
  std::erase_if(farewells_, [&](const Event& event) { return event.endpoint == endpoint; });
  if (path == nullptr || path->stage == Stage::closing) return;
  for (std::size_t i = 0; i < reports_.size(); ++i) {
    auto& event = reports_[i];
    const bool news = event.kind == Event::Kind::closed || event.kind == Event::Kind::connected ||
                      event.kind == Event::Kind::accepted;
    if (event.endpoint == endpoint && news) event.endpoint = {};
  }
  if (path->fabric != nullptr) {
    path->fabric->close(endpoint);
    if (path->stage == Stage::fabric && !path->fabric->drained(endpoint)) {
      --on_fabric_;
      path->stage = Stage::closing;
      path->deadline = clock_.now() + kLinger;
      look_at(*path, clock_.now());
      return;
    }
    path->fabric->drop(endpoint);
  }
  tcp_->close(endpoint);
  forget(*path);
}

std::string PathTransport::explain(EndpointId endpoint) const {
  const auto* path = find(endpoint);
  if (path == nullptr) return {};
  const auto* used = path->stage == Stage::fabric ? path->fabric : nullptr;
  if (used == nullptr)
    return tcp_->explain(endpoint) + words_of(both(path->why, missing_), left_out_);
  auto faster = path->why;
  auto others = used->explain_unused(endpoint);
  bool behind = false;
  for (const auto& fabric : fabrics_) {
    const bool told = (path->told & fabric_bit(*fabric)) != 0;
    if (fabric.get() == used)
      behind = true;
    else if (!told && behind)
      others = both(others, fmt::format("{}: {} is better", fabric->name(), used->name()));
    else if (!told)  // by a connector, which knows why
      faster = both(faster, fmt::format("{}: the peer, which connected, chose {}", fabric->name(),
                                        used->name()));
  }
  return used->explain(endpoint) + words_of(both(faster, missing_), both(others, left_out_));
}

// --- Memory --------------------------------------------------------------------------------------

std::size_t PathTransport::index_of(const Fabric& fabric) const {
  for (std::size_t i = 0; i < fabrics_.size(); ++i)
    if (fabrics_[i].get() == &fabric) return i;
  SHOAL_ASSERT(false, "a fabric of another transport");
  return 0;
}

Status PathTransport::expose(std::uint64_t region, OwnRegion& own, const Fabric& fabric) {
  const auto index = index_of(fabric);
  own.cards.resize(fabrics_.size());
  if (!own.cards[index].empty()) return {};
  const auto memory = own.on_tcp.memory();
  SHOAL_ASSIGN(own.cards[index], own.on_demand
                                     ? fabrics_[index]->expose_on_demand(region, memory, own.access)
                                     : fabrics_[index]->expose(region, memory, own.access));
  return {};
}

Result<Region> PathTransport::register_memory(MemoryView memory, Access access) {
  return add_region(memory, access, false);
}

Result<Region> PathTransport::register_loan(MemoryView memory, Access access) {
  return add_region(memory, access, true);
}

bool PathTransport::pins_loans() const {
  return std::any_of(fabrics_.begin(), fabrics_.end(), [](const auto& fabric) {
    return fabric->pins() && !fabric->pages_on_demand();
  });
}

Result<Region> PathTransport::add_region(MemoryView memory, Access access, bool on_demand) {
  owner_.check();
  SHOAL_ASSIGN(auto on_tcp, tcp_->register_memory(memory, access));
  const auto region = on_tcp.remote(0, 0).region;
  OwnRegion own{std::move(on_tcp), access, on_demand, {}};
  Status status;
  for (const auto& [id, path] : paths_)
    if (path->fabric != nullptr && status.ok()) status = expose(region, own, *path->fabric);
  if (!status.ok()) {
    for (const auto& fabric : fabrics_) fabric->conceal(region);
    return std::move(status).error();
  }
  regions_.emplace(region, std::move(own));
  for (const auto& [id, path] : paths_) {
    if (path->stage != Stage::fabric) continue;
    path->untold.push_back(region);
    if (!tell_regions(*path)) look_at(*path, clock_.now() + kFullRetry);
  }
  return Region(this, region, memory);
}

// From the return of conceal() on nobody reaches the memory; peers hear of it so that they refuse
// by themselves what would cost the connection.
void PathTransport::revoke(std::uint64_t region) {
  owner_.check();
  const auto at = regions_.find(region);
  if (at == regions_.end()) return;
  for (std::size_t i = 0; i < at->second.cards.size(); ++i)
    if (!at->second.cards[i].empty()) fabrics_[i]->conceal(region);
  const auto own = std::move(at->second);  // revoked with TCP, too, at the end
  regions_.erase(at);
  for (const auto& [id, path] : paths_) {
    if (path->stage != Stage::fabric) continue;
    path->untold.push_back(region);
    if (!tell_regions(*path)) look_at(*path, clock_.now() + kFullRetry);
  }
}

/// True: the peer knows of all regions, ahead of whatever is sent from now on.
bool PathTransport::tell_regions(Path& path) {
  for (; !path.untold.empty(); path.untold.pop_front()) {
    const auto region = path.untold.front();
    const auto at = regions_.find(region);
    RegionAnnouncement announcement{.region = region};
    FrameHeader header;
    header.kind = FrameKind::region_gone;
    Card meta(sizeof announcement);
    if (at != regions_.end()) {
      header.kind = FrameKind::region_key;
      announcement.bytes = at->second.on_tcp.memory().bytes;
      announcement.access = static_cast<std::uint64_t>(at->second.access);
      const auto& card = at->second.cards[index_of(*path.fabric)];
      meta.insert(meta.end(), card.begin(), card.end());
    }
    std::memcpy(meta.data(), &announcement, sizeof announcement);
    const auto status = path.fabric->send(path.id, header, meta, {}, {});
    if (status.code() == Errc::overloaded) return false;
  }
  return true;
}

Status PathTransport::attach(MemoryView memory) {
  owner_.check();
  for (std::size_t i = 0; i < fabrics_.size(); ++i) {
    auto status = fabrics_[i]->attach(memory);
    if (status.ok()) continue;
    while (i-- > 0) fabrics_[i]->detach(memory);
    return status;
  }
  return {};
}

void PathTransport::detach(MemoryView memory) {
  owner_.check();
  for (const auto& fabric : fabrics_) fabric->detach(memory);
}

bool PathTransport::pins() const {
  return std::any_of(fabrics_.begin(), fabrics_.end(),
                     [](const auto& fabric) { return fabric->pins(); });
}

// Pages that are shared may be replaced by others, and a device would go on with the old ones.
MemoryView PathTransport::allocate_shared(std::size_t bytes) {
  if (pins()) return {};
  for (const auto& fabric : fabrics_)
    if (const auto memory = fabric->allocate_shared(bytes); memory.data != nullptr) return memory;
  return {};
}

bool PathTransport::deallocate_shared(MemoryView memory) {
  return std::any_of(fabrics_.begin(), fabrics_.end(),
                     [&](const auto& fabric) { return fabric->deallocate_shared(memory); });
}

bool PathTransport::one_sided(EndpointId endpoint) const {
  const auto* path = find(endpoint);
  return path != nullptr && path->stage == Stage::fabric && path->fabric->one_sided();
}

bool PathTransport::reads_by_copy(EndpointId endpoint, std::uint64_t region) const {
  const auto* path = find(endpoint);
  if (path == nullptr || path->stage != Stage::fabric) return false;
  const auto at = path->regions.find(region);
  return at != path->regions.end() && path->fabric->reads_by_copy(at->second.key);
}

// --- Moving bytes --------------------------------------------------------------------------------

Status PathTransport::send(EndpointId endpoint, const FrameHeader& header,
                           std::span<const std::byte> meta,
                           std::span<const ConstMemoryView> payload, const SendOptions& options) {
  owner_.check();
  auto* path = find(endpoint);
  if (path == nullptr) return not_up();
  SHOAL_ASSERT(!is_transport_kind(header.kind), "this frame kind is the transport's own");
  if (path->stage == Stage::tcp) return tcp_->send(endpoint, header, meta, payload, options);
  if (path->stage != Stage::fabric) return not_up();
  if (!path->untold.empty() && !tell_regions(*path))
    return Error{Errc::overloaded, "the peer has yet to be told of registered memory"};
  return path->fabric->send(endpoint, header, meta, payload, options);
}

/// Null: it cannot be used; whoever asks for it is answered as if the owner had refused.
const PathTransport::PeerRegion* PathTransport::find_region(const Path& path,
                                                            const RemoteSpan& span,
                                                            Access access) const {
  const auto at = path.regions.find(span.region);
  if (at == path.regions.end()) return nullptr;
  const auto& region = at->second;
  if (span.address > region.bytes || span.bytes > region.bytes - span.address) return nullptr;
  const auto wanted = static_cast<std::uint8_t>(access);
  if ((static_cast<std::uint8_t>(region.access) & wanted) != wanted) return nullptr;
  return &region;
}

void PathTransport::refuse(EndpointId endpoint, Event::Kind kind, std::uint64_t context) {
  reports_.push_back({.kind = kind,
                      .status = Errc::revoked,
                      .endpoint = endpoint,
                      .context = context,
                      .frame = {}});
}

Status PathTransport::read(EndpointId endpoint, MemoryView to, const RemoteSpan& from,
                           std::uint64_t context) {
  owner_.check();
  auto* path = find(endpoint);
  if (path == nullptr) return not_up();
  if (path->stage == Stage::tcp) return tcp_->read(endpoint, to, from, context);
  if (path->stage != Stage::fabric) return not_up();
  if (to.bytes != from.bytes) return lengths_differ("read");
  const auto* region = find_region(*path, from, Access::read);
  if (region != nullptr)
    return path->fabric->read(endpoint, to, region->key, from.address, context);
  refuse(endpoint, Event::Kind::read_done, context);
  return {};
}

bool PathTransport::read_in_place(EndpointId endpoint, const RemoteSpan& from, const Use& use) {
  owner_.check();
  auto* path = find(endpoint);
  if (path == nullptr || path->stage != Stage::fabric) return false;
  const auto* region = find_region(*path, from, Access::read);
  return region != nullptr &&
         path->fabric->read_in_place(endpoint, region->key, from.address, from.bytes, use);
}

Status PathTransport::write(EndpointId endpoint, ConstMemoryView from, const RemoteSpan& to,
                            std::uint64_t context) {
  owner_.check();
  auto* path = find(endpoint);
  if (path == nullptr) return not_up();
  if (path->stage == Stage::tcp) return tcp_->write(endpoint, from, to, context);
  if (path->stage != Stage::fabric) return not_up();
  if (from.bytes != to.bytes) return lengths_differ("write");
  const auto* region = find_region(*path, to, Access::write);
  if (region != nullptr)
    return path->fabric->write(endpoint, from, region->key, to.address, context);
  refuse(endpoint, Event::Kind::write_done, context);
  return {};
}

}  // namespace shoal::paths
