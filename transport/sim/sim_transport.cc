#include "transport/sim/sim_transport.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace shoal::sim {

namespace {

Error closed(const char* what) {
  return {Errc::closed,
          fmt::format("{}: the endpoint is unknown, not connected yet, or closed", what)};
}

}  // namespace

SimTransport::SimTransport(World& world, std::uint32_t node, std::uint64_t token)
    : world_(world), node_(node) {
  ++world_.transports;
  state().transport = this;
  state().token = token;
}

SimTransport::~SimTransport() {
  if (alive()) {
    SHOAL_ASSERT(state().regions_live == 0, "a transport is destroyed before its regions");
    world_.process_ends(node_, false);
  }
  for (const auto buffer : held_) world_.buffers.release(buffer);
  --world_.transports;
}

Result<Address> SimTransport::listen(const Address& at) {
  if (!alive()) return closed("listen");
  auto& node = state();
  if (at.host != node.name)
    return Error{Errc::io,
                 fmt::format("cannot listen on {}: this node is '{}'", at.to_string(), node.name),
                 EADDRNOTAVAIL};
  auto real = at;
  const auto taken = [&](std::uint16_t port) {
    return std::find(node.ports.begin(), node.ports.end(), port) != node.ports.end();
  };
  if (at.port != 0 && taken(at.port))
    return Error{Errc::io, fmt::format("cannot listen on {}", at.to_string()), EADDRINUSE};
  while (real.port == 0 || taken(real.port)) real.port = node.next_port++;
  node.ports.push_back(real.port);
  return real;
}

Result<EndpointId> SimTransport::connect(const Address& peer, TimePoint deadline) {
  if (!alive()) return closed("connect");
  return world_.connect(node_, peer, deadline);
}

void SimTransport::close(EndpointId endpoint) {
  if (!alive()) return;
  const auto* slot = world_.find_endpoint(node_, endpoint);
  if (slot == nullptr) return;
  if (slot->ended) return world_.free_endpoint(node_, endpoint);
  world_.end_side(slot->connection, slot->side, Errc::closed, true);
}

std::string SimTransport::peer_of(EndpointId endpoint) const {
  const auto* slot = alive() ? world_.find_endpoint(node_, endpoint) : nullptr;
  if (slot == nullptr || slot->ended) return {};
  const auto& connection = *world_.connections[slot->connection];
  return slot->side == 0 ? connection.target.to_string()
                         : world_.nodes[connection.sides[0].node]->name;
}

std::string SimTransport::explain(EndpointId endpoint) const {
  return fmt::format("sim: {} to {} over the simulated network of seed {}", state().name,
                     peer_of(endpoint), world_.options.seed);
}

Result<Region> SimTransport::register_memory(MemoryView memory, Access access) {
  if (!alive() || memory.space == MemorySpace::cuda)
    return Error{Errc::registration, alive() ? "the simulated network moves host memory only"
                                             : "the process has crashed"};
  auto& node = state();
  if (node.regions_live >= world_.options.regions_max)
    return Error{Errc::overloaded, fmt::format("register_memory: {} regions are in use, the most "
                                               "there may be",
                                               node.regions_live)};
  if (node.free_regions.empty()) {
    node.free_regions.push_back(static_cast<std::uint32_t>(node.regions.size()));
    node.regions.emplace_back();
  }
  const auto slot = node.free_regions.back();
  node.free_regions.pop_back();
  ++node.regions_live;
  const auto id = (world_.next_id++ << 16) | slot;
  node.regions[slot] = {id, memory, access};
  return Region(this, id, memory);
}

RemoteSpan SimTransport::remote_span(std::uint64_t region, std::size_t offset,
                                     std::size_t length) const {
  return {region, offset, length};
}

void SimTransport::revoke(std::uint64_t region) {
  auto* slot = alive() ? world_.find_region(node_, region) : nullptr;
  if (slot == nullptr) return;
  *slot = {};
  state().free_regions.push_back(static_cast<std::uint32_t>(region & 0xffff));
  --state().regions_live;
}

Side* SimTransport::open_side(EndpointId endpoint, std::uint32_t& connection,
                              std::uint8_t& which) const {
  const auto* slot = alive() ? world_.find_endpoint(node_, endpoint) : nullptr;
  if (slot == nullptr || slot->ended) return nullptr;
  connection = slot->connection;
  which = slot->side;
  auto& side = world_.connections[connection]->sides[which];
  return side.state == Side::State::open ? &side : nullptr;
}

Status SimTransport::post(EndpointId endpoint, Lane lane, const Post& post) {
  std::uint32_t connection = 0;
  std::uint8_t which = 0;
  auto* side = open_side(endpoint, connection, which);
  side->streams[static_cast<std::size_t>(lane)].posts.push_back(post);
  world_.pump(connection, static_cast<std::uint8_t>(which * 2 + static_cast<std::uint8_t>(lane)));
  return {};
}

Status SimTransport::send(EndpointId endpoint, const FrameHeader& given,
                          std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                          const SendOptions& how) {
  std::uint32_t connection = 0;
  std::uint8_t which = 0;
  const auto* side = open_side(endpoint, connection, which);
  if (side == nullptr) return closed("send");
  SHOAL_ASSERT(given.kind >= FrameKind::hello, "frames of this kind are the transport's own");
  const FrameLimits limits;
  std::size_t bytes = 0;
  for (const auto& view : payload) bytes += view.bytes;
  if (meta.size() > limits.meta_bytes_max || bytes > limits.payload_bytes_max ||
      payload.size() > kPayloadViewsMax || (how.copy_payload && bytes > kCopyMax))
    return Error{Errc::out_of_range,
                 fmt::format("send: {} bytes of meta and {} of payload in {} views are too much",
                             meta.size(), bytes, payload.size())};
  if (side->streams[static_cast<std::size_t>(how.lane)].posts.size() >= world_.options.queue_max)
    return Error{Errc::overloaded, "send: the endpoint's queue is full; poll and try again"};
  auto header = given;
  header.payload_bytes = bytes;
  seal(header, meta);
  Post post{.kind = Post::Kind::message, .context = how.context};
  post.buffer = world_.buffers.take(sizeof header + meta.size() + bytes);
  post.done = sizeof header + meta.size();
  auto* to = world_.buffers.data(post.buffer);
  std::memcpy(to, &header, sizeof header);
  if (!meta.empty()) std::memcpy(to + sizeof header, meta.data(), meta.size());
  if (how.copy_payload) {
    to += post.done;
    for (const auto& view : payload) {
      if (view.bytes != 0) std::memcpy(to, view.data, view.bytes);
      to += view.bytes;
    }
  } else {
    for (const auto& view : payload) post.lent[post.lent_count++] = view;
  }
  return this->post(endpoint, how.lane, post);
}

Status SimTransport::read(EndpointId endpoint, MemoryView to, const RemoteSpan& from,
                          std::uint64_t context) {
  std::uint32_t connection = 0;
  std::uint8_t which = 0;
  auto* side = open_side(endpoint, connection, which);
  if (side == nullptr) return closed("read");
  if (to.bytes != from.bytes)
    return Error{Errc::out_of_range, fmt::format("read of {} bytes into {}", from.bytes, to.bytes)};
  if (side->reads.size() >= world_.options.reads_max)
    return Error{Errc::overloaded, "read: too many are unanswered; poll and try again"};
  side->reads.push_back({to, context});
  return post(endpoint, Lane::bulk, {.kind = Post::Kind::read_request, .remote = from});
}

Status SimTransport::write(EndpointId endpoint, ConstMemoryView from, const RemoteSpan& to,
                           std::uint64_t context) {
  std::uint32_t connection = 0;
  std::uint8_t which = 0;
  const auto* side = open_side(endpoint, connection, which);
  if (side == nullptr) return closed("write");
  if (to.bytes != from.bytes)
    return Error{Errc::out_of_range, fmt::format("write of {} bytes to {}", from.bytes, to.bytes)};
  if (side->streams[static_cast<std::size_t>(Lane::bulk)].posts.size() >= world_.options.queue_max)
    return Error{Errc::overloaded, "write: the endpoint's queue is full; poll and try again"};
  Post post{.kind = Post::Kind::write, .context = context, .remote = to};
  post.lent[0] = from;
  post.lent_count = 1;
  return this->post(endpoint, Lane::bulk, post);
}

bool SimTransport::arm() { return state().inbox.empty() || !alive(); }

std::size_t SimTransport::poll(std::span<Event> events) {
  for (const auto buffer : held_) world_.buffers.release(buffer);
  held_.clear();
  if (!alive() || state().stopped) return 0;
  auto& inbox = state().inbox;
  std::size_t count = 0;
  while (count < events.size() && !inbox.empty()) {
    const auto next = inbox.front();
    inbox.pop_front();
    const bool known = world_.find_endpoint(node_, next.event.endpoint) != nullptr;
    const auto kind = next.event.kind;
    if (kind == Event::Kind::message) {
      world_.release_window(next.connection, next.generation, next.stream,
                            world_.buffers.bytes(next.buffer));
      held_.push_back(next.buffer);
    }
    const bool completes = kind == Event::Kind::sent || kind == Event::Kind::read_done ||
                           kind == Event::Kind::write_done;
    if (!known && !completes) continue;  // close() was called on it
    if (kind == Event::Kind::closed) world_.free_endpoint(node_, next.event.endpoint);
    auto& event = events[count++] = next.event;
    if (kind == Event::Kind::message) {
      const auto* bytes = world_.buffers.data(next.buffer);
      std::memcpy(&event.frame.header, bytes, sizeof(FrameHeader));
      const auto& header = event.frame.header;
      event.frame.meta = {bytes + sizeof header, header.meta_bytes};
      event.frame.payload = {bytes + sizeof header + header.meta_bytes, header.payload_bytes};
      world_.mix(header.checksum ^ header.payload_bytes);
    }
    world_.mix((std::uint64_t{node_} << 16) ^ (static_cast<std::uint64_t>(kind) << 8) ^
               static_cast<std::uint64_t>(next.event.status) ^ (next.event.context << 24));
  }
  if (!inbox.empty()) world_.wake(node_);
  return count;
}

bool SimTransport::reads_by_copy(EndpointId, std::uint64_t) const {
  return world_.options.reads_by_copy;
}

bool SimTransport::read_in_place(EndpointId endpoint, const RemoteSpan& from, const Use& use) {
  std::uint32_t connection = 0;
  std::uint8_t which = 0;
  if (open_side(endpoint, connection, which) == nullptr ||
      !world_.random.chance(world_.options.reads_in_place))
    return false;
  const auto owner = world_.connections[connection]->sides[1 - which].node;
  const auto* bytes = world_.region_bytes(owner, from, Access::read);
  if (bytes == nullptr) return false;
  world_.touch(bytes, from.bytes, owner, "read");
  use({bytes, static_cast<std::size_t>(from.bytes)});
  return true;
}

}  // namespace shoal::sim
