#include <algorithm>

#include "transport/sim/sim_transport.h"
#include "transport/sim/world.h"

// What goes wrong, and how those concerned learn of it.

namespace shoal::sim {

bool World::reachable(std::uint32_t from, std::uint32_t to) const {
  return !link(from, to).cut && !nodes[from]->dark && !nodes[to]->dark;
}

// --- Processes.

void World::process_ends(std::uint32_t index, bool silent) {
  auto& node = *nodes[index];
  if (node.transport == nullptr) return;
  node.transport = nullptr;
  node.stopped = false;
  node.dark = silent;
  node.dark_since = now();
  for (std::uint32_t i = 0; i < connections.size(); ++i) {
    auto& connection = *connections[i];
    for (std::uint8_t side = 0; side < 2 && connection.in_use; ++side) {
      if (connection.sides[side].node != index) continue;
      end_side(i, side, Errc::closed, true, !silent);
      if (!silent || !connection.in_use) continue;
      for (auto& stream : connection.sides[side].streams) truncate_flight(stream, 0);
      watch_silence(i, now());
    }
  }
  for (; !node.inbox.empty(); node.inbox.pop_front()) {
    const auto& left = node.inbox.front();
    if (left.event.kind == Event::Kind::message)
      release_window(left.connection, left.generation, left.stream, buffers.bytes(left.buffer));
    buffers.release(left.buffer);
  }
  for (const auto& slot : node.endpoints)
    if (slot.id.value != 0) free_endpoint(index, slot.id);
  for (auto& region : node.regions) region = {};
  node.free_regions.clear();
  node.regions.clear();
  node.regions_live = 0;
  node.ports.clear();
  set_timer(index, kNever);
}

/// A new process knows nothing of its predecessor's connections: it resets them when they speak.
void World::process_starts(std::uint32_t index) {
  auto& node = *nodes[index];
  const bool was_dark = std::exchange(node.dark, false);
  node.stopped = false;
  if (!was_dark) return;
  for (std::uint32_t i = 0; i < connections.size(); ++i) {
    auto& connection = *connections[i];
    for (std::uint8_t side = 0; side < 2 && connection.in_use; ++side) {
      auto& end = connection.sides[side];
      if (end.node != index || end.state != Side::State::closed) continue;
      for (std::uint8_t lane = 0; lane < 2; ++lane) {
        const auto stream = static_cast<std::uint8_t>(side * 2 + lane);
        send_piece(i, stream, {.kind = Piece::Kind::fin, .last = true},
                   up_to(options.retransmit_max));
      }
      restart_streams(i, static_cast<std::uint8_t>(1 - side), options.retransmit_max);
      restart_streams(i, side, options.retransmit_max);
    }
  }
}

void World::resume(std::uint32_t index) {
  auto& node = *nodes[index];
  if (!std::exchange(node.stopped, false)) return;
  for (std::uint32_t i = 0; i < connections.size(); ++i) {
    auto& connection = *connections[i];
    for (std::uint8_t side = 0; side < 2 && connection.in_use; ++side) {
      if (connection.sides[side].node != index) continue;
      restart_streams(i, static_cast<std::uint8_t>(1 - side), Duration::zero());
      for (std::uint8_t lane = 0; lane < 2; ++lane)
        pump(i, static_cast<std::uint8_t>(side * 2 + lane));
    }
  }
  wake(index);
}

// --- Links.

void World::cut(std::uint32_t from, std::uint32_t to) {
  auto& way = link(from, to);
  if (from == to || way.cut) return;
  way.cut = true;
  way.cut_since = now();
  for (std::uint32_t i = 0; i < connections.size(); ++i) {
    const auto& connection = *connections[i];
    const auto a = connection.sides[0].node;
    const auto b = connection.sides[1].node;
    if (connection.in_use && connection.sides[1].state != Side::State::none &&
        ((a == from && b == to) || (a == to && b == from)))
      watch_silence(i, now());
  }
}

void World::watch_silence(std::uint32_t index, TimePoint since) {
  const auto& connection = *connections[index];
  for (std::uint8_t side = 0; side < 2; ++side)
    if (connection.sides[side].state != Side::State::closed)
      schedule(now() + options.keepalive + up_to(options.keepalive / 2), Happening::keepalive,
               index, connection.generation, side, since.time_since_epoch().count());
}

void World::on_keepalive(const Scheduled& event) {
  const auto& connection = *connections[event.index];
  const auto a = connection.sides[0].node;
  const auto b = connection.sides[1].node;
  const TimePoint since{Duration(event.detail)};
  const auto silent = [&](const LinkState& way) { return way.cut && way.cut_since == since; };
  const auto dark = [&](std::uint32_t node) {
    return nodes[node]->dark && nodes[node]->dark_since == since;
  };
  if (silent(link(a, b)) || silent(link(b, a)) || dark(a) || dark(b))
    end_side(event.index, event.stream, Errc::peer_lost, false);
}

void World::heal(std::uint32_t a, std::uint32_t b) {
  const bool was_cut = link(a, b).cut || link(b, a).cut;
  link(a, b).cut = link(b, a).cut = false;
  if (!was_cut) return;
  for (std::uint32_t i = 0; i < connections.size(); ++i) {
    const auto& connection = *connections[i];
    const auto from = connection.sides[0].node;
    const auto to = connection.sides[1].node;
    if (!connection.in_use || !((from == a && to == b) || (from == b && to == a))) continue;
    restart_streams(i, 0, options.retransmit_max);
    restart_streams(i, 1, options.retransmit_max);
  }
}

void World::restart_streams(std::uint32_t index, std::uint8_t side, Duration extra_max) {
  for (std::uint8_t lane = 0; lane < 2; ++lane)
    schedule_arrival(index, static_cast<std::uint8_t>(side * 2 + lane), up_to(extra_max));
}

void World::drop_connections(std::uint32_t a, std::uint32_t b) {
  for (std::uint32_t i = 0; i < connections.size(); ++i) {
    auto& connection = *connections[i];
    const auto from = connection.sides[0].node;
    const auto to = connection.sides[1].node;
    if (!connection.in_use || connection.sides[1].state == Side::State::none ||
        !((from == a && to == b) || (from == b && to == a)))
      continue;
    for (std::uint8_t stream = 0; stream < 4; ++stream) {
      truncate_flight(connection.sides[stream / 2].streams[stream % 2], 0);
      send_piece(i, stream, {.kind = Piece::Kind::fin, .last = true},
                 up_to(options.drop_notice_max));
    }
  }
}

}  // namespace shoal::sim
