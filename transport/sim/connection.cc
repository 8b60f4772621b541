#include <fmt/core.h>

#include <algorithm>

#include "transport/sim/sim_transport.h"
#include "transport/sim/world.h"

// How connections come to be and end.

namespace shoal::sim {

namespace {

constexpr std::uint8_t stream_of(std::uint8_t side, Lane lane) {
  return static_cast<std::uint8_t>(side * 2 + static_cast<std::uint8_t>(lane));
}

}  // namespace

Connection* World::find_connection(const Scheduled& event) {
  auto& connection = *connections[event.index];
  return connection.in_use && connection.generation == event.generation ? &connection : nullptr;
}

std::uint32_t World::make_connection() {
  if (free_connections_.empty()) {
    free_connections_.push_back(static_cast<std::uint32_t>(connections.size()));
    connections.push_back(std::make_unique<Connection>());
  }
  const auto index = free_connections_.back();
  free_connections_.pop_back();
  connections[index]->in_use = true;
  return index;
}

/// Nobody has it any more: what is on the way reaches nobody.
void World::recycle(std::uint32_t index) {
  auto& connection = *connections[index];
  for (auto& side : connection.sides) {
    for (auto& stream : side.streams) {
      truncate_flight(stream, 0);
      stream.window_bytes = 0;
      stream.window_pieces = 0;
      stream.last_arrival = stream.busy_until = TimePoint{};
      stream.depart_scheduled = stream.arrive_scheduled = false;
    }
    side.state = Side::State::none;
    side.endpoint = EndpointId{};
  }
  connection.in_use = false;
  ++connection.generation;
  free_connections_.push_back(index);
}

void World::truncate_flight(Stream& stream, std::size_t keep) {
  while (stream.flight.size() > keep) {
    const auto& piece = stream.flight[stream.flight.size() - 1];
    stream.window_bytes -= window_cost(piece);
    --stream.window_pieces;
    buffers.release(piece.buffer);
    stream.flight.pop_back();
  }
}

EndpointId World::make_endpoint(std::uint32_t node, std::uint32_t connection, std::uint8_t side) {
  auto& owner = *nodes[node];
  if (owner.free_endpoints.empty()) {
    owner.free_endpoints.push_back(static_cast<std::uint32_t>(owner.endpoints.size()));
    owner.endpoints.emplace_back();
  }
  const auto slot = owner.free_endpoints.back();
  owner.free_endpoints.pop_back();
  const EndpointId id((next_id++ << 24) | slot);
  owner.endpoints[slot] = {id, connection, side, false};
  auto& end = connections[connection]->sides[side];
  end.node = node;
  end.endpoint = id;
  return id;
}

EndpointSlot* World::find_endpoint(std::uint32_t node, EndpointId id) {
  auto& endpoints = nodes[node]->endpoints;
  const auto slot = id.value & 0xffffff;
  if (slot >= endpoints.size() || endpoints[slot].id != id || id.value == 0) return nullptr;
  return &endpoints[slot];
}

void World::free_endpoint(std::uint32_t node, EndpointId id) {
  auto* slot = find_endpoint(node, id);
  SHOAL_ASSERT(slot != nullptr, "an endpoint is freed twice");
  *slot = {};
  nodes[node]->free_endpoints.push_back(static_cast<std::uint32_t>(id.value & 0xffffff));
}

// --- Connecting.

Result<EndpointId> World::connect(std::uint32_t node, const Address& peer, TimePoint deadline) {
  auto& owner = *nodes[node];
  if (owner.endpoints.size() - owner.free_endpoints.size() >= options.endpoints_max)
    return Error{Errc::overloaded, fmt::format("connect to {}: {} endpoints are in use, the most "
                                               "there may be",
                                               peer.to_string(), options.endpoints_max)};
  const auto index = make_connection();
  auto& connection = *connections[index];
  connection.target = peer;
  const auto id = make_endpoint(node, index, 0);
  connection.sides[0].state = Side::State::connecting;
  schedule(now() + up_to(options.link.delay_max), Happening::connect_try, index,
           connection.generation);
  if (deadline != kNever)
    schedule(deadline, Happening::connect_deadline, index, connection.generation);
  return id;
}

void World::on_connect_try(std::uint32_t index) {
  auto& connection = *connections[index];
  auto& from = connection.sides[0];
  if (from.state != Side::State::connecting || connection.sides[1].state != Side::State::none)
    return;
  const auto fail = [&](Errc why, Duration after) {
    schedule(now() + after, Happening::connect_refused, index, connection.generation, 0,
             static_cast<std::int64_t>(why));
  };
  const auto found = std::find_if(nodes.begin(), nodes.end(), [&](const auto& node) {
    return node->name == connection.target.host;
  });
  if (found == nodes.end()) return fail(Errc::io, Duration::zero());
  const auto to = static_cast<std::uint32_t>(found - nodes.begin());
  auto& target = **found;
  if (!reachable(from.node, to) || !reachable(to, from.node) || target.stopped ||
      nodes[from.node]->stopped) {
    // Lost, or not answered: asked again until the deadline.
    schedule(now() + kConnectRetry + up_to(kConnectRetry), Happening::connect_try, index,
             connection.generation);
    return;
  }
  const auto& ports = target.ports;
  if (target.transport == nullptr ||
      std::find(ports.begin(), ports.end(), connection.target.port) == ports.end() ||
      target.endpoints.size() - target.free_endpoints.size() >= options.endpoints_max)
    return fail(Errc::refused, delay(to, from.node));
  if (target.token != nodes[from.node]->token) return fail(Errc::untrusted, delay(to, from.node));
  const auto id = make_endpoint(to, index, 1);
  connection.sides[1].state = Side::State::open;
  report(to, {.event = {.kind = Event::Kind::accepted, .endpoint = id}});
  send_piece(index, stream_of(1, Lane::message), {.kind = Piece::Kind::connected, .last = true});
}

void World::on_connect_ended(std::uint32_t index, Errc status) {
  if (connections[index]->sides[0].state == Side::State::connecting)
    end_side(index, 0, status, false);
}

// --- Ending.

void World::end_side(std::uint32_t index, std::uint8_t which, Errc status, bool by_owner,
                     bool tell_peer) {
  auto& connection = *connections[index];
  auto& side = connection.sides[which];
  if (side.state == Side::State::closed || side.state == Side::State::none) return;
  side.state = Side::State::closed;
  const auto ended = by_owner ? Errc::closed : Errc::peer_lost;
  const auto complete = [&](Event::Kind kind, std::uint64_t context) {
    report(
        side.node,
        {.event = {.kind = kind, .status = ended, .endpoint = side.endpoint, .context = context}});
  };
  for (auto& stream : side.streams) {
    for (; !stream.posts.empty(); stream.posts.pop_front()) {
      const auto& post = stream.posts.front();
      if (post.kind == Post::Kind::write) complete(Event::Kind::write_done, post.context);
      if (post.kind == Post::Kind::message && post.context != 0)
        complete(Event::Kind::sent, post.context);
      buffers.release(post.buffer);
    }
  }
  for (; !side.reads.empty(); side.reads.pop_front())
    complete(Event::Kind::read_done, side.reads.front().context);
  if (by_owner) {
    free_endpoint(side.node, side.endpoint);
  } else {
    find_endpoint(side.node, side.endpoint)->ended = true;
    report(side.node,
           {.event = {.kind = Event::Kind::closed, .status = status, .endpoint = side.endpoint}});
  }
  auto& peer = connection.sides[1 - which];
  if (peer.state == Side::State::closed || peer.state == Side::State::none) return recycle(index);
  if (!tell_peer) return;
  for (std::uint8_t lane = 0; lane < 2; ++lane) {
    // What the kernel had taken may still arrive, or a reset overtakes some of it.
    auto& flight = side.streams[lane].flight;
    if (!flight.empty() && random.chance(0.5))
      truncate_flight(side.streams[lane], random.below(flight.size() + 1));
    send_piece(index, static_cast<std::uint8_t>(which * 2 + lane),
               {.kind = Piece::Kind::fin, .last = true});
  }
}

}  // namespace shoal::sim
