#include <algorithm>
#include <cstring>

#include "transport/sim/sim_transport.h"
#include "transport/sim/world.h"

// How bytes leave, travel and land.

namespace shoal::sim {

std::size_t World::window_cost(const Piece& piece) const {
  return piece.buffer == kNoBuffer ? 0 : buffers.bytes(piece.buffer);
}

// --- Leaving.

void World::pump(std::uint32_t index, std::uint8_t id) {
  auto& side = connections[index]->sides[id / 2];
  auto& stream = side.streams[id % 2];
  while (side.state == Side::State::open && !stream.posts.empty() && !stream.depart_scheduled &&
         !nodes[side.node]->stopped && stream.window_pieces < options.window_pieces &&
         stream.window_bytes < options.window_bytes) {
    const auto& post = stream.posts.front();
    const bool lends = post.kind == Post::Kind::write || post.kind == Post::Kind::read_answer ||
                       post.lent_count > 0;
    if (!lends && stream.busy_until <= now()) {
      depart_next(index, id);
      continue;
    }
    stream.depart_scheduled = true;
    schedule(std::max(now(), stream.busy_until) + up_to(kDepartMax), Happening::depart, index,
             connections[index]->generation, id);
  }
}

void World::on_depart(std::uint32_t index, std::uint8_t id) {
  auto& side = connections[index]->sides[id / 2];
  auto& stream = side.streams[id % 2];
  stream.depart_scheduled = false;
  // A stopped process goes on at resume().
  if (side.state != Side::State::open || stream.posts.empty() || nodes[side.node]->stopped) return;
  if (depart_next(index, id)) pump(index, id);
}

/// False: the connection ended over it.
bool World::depart_next(std::uint32_t index, std::uint8_t id) {
  auto& side = connections[index]->sides[id / 2];
  auto& stream = side.streams[id % 2];
  auto& post = stream.posts.front();
  switch (post.kind) {
    case Post::Kind::message:
      depart_message(index, id, post);
      stream.posts.pop_front();
      break;
    case Post::Kind::read_request:
      send_piece(index, id,
                 {.kind = Piece::Kind::read_request, .last = true, .remote = post.remote});
      stream.posts.pop_front();
      break;
    case Post::Kind::write:
    case Post::Kind::read_answer:
      depart_bulk(index, id, post);
      break;
  }
  return side.state == Side::State::open;
}

void World::depart_message(std::uint32_t index, std::uint8_t id, Post& post) {
  const auto& side = connections[index]->sides[id / 2];
  auto* to = buffers.data(post.buffer) + post.done;
  for (std::size_t i = 0; i < post.lent_count; ++i) {
    const auto& view = post.lent[i];
    if (view.bytes == 0) continue;
    touch(view.data, view.bytes, side.node, "left");
    std::memcpy(to, view.data, view.bytes);
    to += view.bytes;
  }
  if (post.context != 0)
    report(
        side.node,
        {.event = {.kind = Event::Kind::sent, .endpoint = side.endpoint, .context = post.context}});
  send_piece(index, id, {.kind = Piece::Kind::message, .last = true, .buffer = post.buffer});
}

/// The next piece of a write or of a read's answer. Its memory is read now and not before.
void World::depart_bulk(std::uint32_t index, std::uint8_t id, Post& post) {
  auto& side = connections[index]->sides[id / 2];
  auto& stream = side.streams[id % 2];
  const bool answers = post.kind == Post::Kind::read_answer;
  const auto* from = post.lent[0].data;
  if (answers) {
    from = region_bytes(side.node, post.remote, Access::read);
    if (from == nullptr) {
      // Revoked between two frames of the answer, or in the midst of one: then nothing but the end
      // of the connection tells the reader.
      if (post.started && random.chance(0.5)) return end_side(index, id / 2, Errc::revoked, false);
      send_piece(index, id, {.kind = Piece::Kind::read_refused, .last = true});
      stream.posts.pop_front();
      return;
    }
  }
  const auto left = post.remote.bytes - post.done;
  auto bytes = std::min<std::size_t>(left, kPieceMax);
  if (bytes > kPieceMin && random.chance(0.5)) bytes = 1 + random.below(bytes);
  const bool last = bytes == left;
  Piece piece{.kind = answers ? Piece::Kind::read_data : Piece::Kind::write,
              .last = last,
              .buffer = buffers.take(bytes),
              .offset = post.done,
              .remote = post.remote};
  if (bytes > 0) {
    touch(from + post.done, bytes, side.node, "left");
    std::memcpy(buffers.data(piece.buffer), from + post.done, bytes);
  }
  post.started = true;
  post.done += bytes;
  const double cost = static_cast<double>(options.bulk_time_per_mib.count()) *
                      static_cast<double>(bytes) / (1 << 20) * nodes[side.node]->slowness;
  stream.busy_until = now() + Duration(static_cast<std::int64_t>(cost));
  if (!last && random.chance(kGapChance)) stream.busy_until += up_to(kGapMax);
  if (last) {
    if (!answers)
      report(side.node, {.event = {.kind = Event::Kind::write_done,
                                   .endpoint = side.endpoint,
                                   .context = post.context}});
    stream.posts.pop_front();
  }
  send_piece(index, id, piece);
}

// --- Travelling.

void World::send_piece(std::uint32_t index, std::uint8_t id, Piece piece, Duration extra) {
  auto& connection = *connections[index];
  auto& stream = connection.sides[id / 2].streams[id % 2];
  piece.arrives = std::max(
      stream.last_arrival,
      now() + delay(connection.sides[id / 2].node, connection.sides[1 - id / 2].node) + extra);
  stream.last_arrival = piece.arrives;
  stream.window_bytes += window_cost(piece);
  ++stream.window_pieces;
  stream.flight.push_back(piece);
  schedule_arrival(index, id);
}

void World::schedule_arrival(std::uint32_t index, std::uint8_t id, Duration extra) {
  auto& connection = *connections[index];
  auto& stream = connection.sides[id / 2].streams[id % 2];
  if (stream.arrive_scheduled || stream.flight.empty()) return;
  stream.arrive_scheduled = true;
  schedule(std::max(now(), stream.flight.front().arrives) + extra, Happening::arrive, index,
           connection.generation, id);
}

void World::release_window(std::uint32_t index, std::uint32_t generation, std::uint8_t id,
                           std::size_t bytes) {
  auto& connection = *connections[index];
  if (!connection.in_use || connection.generation != generation) return;
  auto& stream = connection.sides[id / 2].streams[id % 2];
  stream.window_bytes -= bytes;
  --stream.window_pieces;
  pump(index, id);
}

// --- Landing.

void World::on_arrive(std::uint32_t index, std::uint8_t id) {
  auto& connection = *connections[index];
  const auto& from = connection.sides[id / 2];
  auto& to = connection.sides[1 - id / 2];
  auto& stream = connection.sides[id / 2].streams[id % 2];
  stream.arrive_scheduled = false;
  // What cannot land waits for heal(), start() or resume(), or for `connected` on the other lane.
  if (stream.flight.empty() || !reachable(from.node, to.node) || nodes[to.node]->stopped) return;
  const auto piece = stream.flight.front();
  if (piece.arrives > now()) return schedule_arrival(index, id);
  if (to.state == Side::State::connecting && piece.kind != Piece::Kind::connected &&
      piece.kind != Piece::Kind::fin)
    return;
  stream.flight.pop_front();
  const auto generation = connection.generation;
  const bool lands = to.state != Side::State::closed;
  if (!lands || piece.kind != Piece::Kind::message) {
    stream.window_bytes -= window_cost(piece);
    --stream.window_pieces;
  }
  if (lands) land(index, id, piece);
  if (!lands || piece.kind != Piece::Kind::message) buffers.release(piece.buffer);
  if (!connection.in_use || connection.generation != generation) return;
  schedule_arrival(index, id);
  pump(index, id);
}

void World::land(std::uint32_t index, std::uint8_t id, const Piece& piece) {
  auto& connection = *connections[index];
  const auto which = static_cast<std::uint8_t>(1 - id / 2);
  auto& to = connection.sides[which];
  switch (piece.kind) {
    case Piece::Kind::message:
      return report(to.node, {.event = {.kind = Event::Kind::message, .endpoint = to.endpoint},
                              .buffer = piece.buffer,
                              .connection = index,
                              .generation = connection.generation,
                              .stream = id});
    case Piece::Kind::write:
      return land_write(to.node, piece);
    case Piece::Kind::read_request:
      to.streams[static_cast<std::size_t>(Lane::bulk)].posts.push_back(
          {.kind = Post::Kind::read_answer, .remote = piece.remote});
      return pump(index, static_cast<std::uint8_t>(which * 2 + 1));
    case Piece::Kind::read_data:
    case Piece::Kind::read_refused:
      return land_read(to, piece);
    case Piece::Kind::connected:
      to.state = Side::State::open;
      report(to.node, {.event = {.kind = Event::Kind::connected, .endpoint = to.endpoint}});
      return restart_streams(index, id / 2, Duration::zero());
    case Piece::Kind::fin:
      return end_side(index, which, Errc::peer_lost, false);
  }
}

std::byte* World::region_bytes(std::uint32_t node, const RemoteSpan& span, Access access) {
  const auto* region = find_region(node, span.region);
  if (region == nullptr || (static_cast<int>(region->access) & static_cast<int>(access)) == 0 ||
      span.address > region->memory.bytes || span.bytes > region->memory.bytes - span.address)
    return nullptr;
  return region->memory.data + span.address;
}

void World::land_write(std::uint32_t node, const Piece& piece) {
  auto* to = region_bytes(node, piece.remote, Access::write);
  const auto bytes = buffers.bytes(piece.buffer);
  if (to == nullptr || bytes == 0) return;  // swallowed
  touch(to + piece.offset, bytes, node, "landed in");
  std::memcpy(to + piece.offset, buffers.data(piece.buffer), bytes);
}

void World::land_read(Side& side, const Piece& piece) {
  SHOAL_ASSERT(!side.reads.empty(), "an answer to no read");
  const auto read = side.reads.front();
  if (piece.kind == Piece::Kind::read_data) {
    const auto bytes = buffers.bytes(piece.buffer);
    if (bytes > 0) {
      touch(read.to.data + piece.offset, bytes, side.node, "landed in");
      std::memcpy(read.to.data + piece.offset, buffers.data(piece.buffer), bytes);
    }
    if (!piece.last) return;
  }
  side.reads.pop_front();
  report(side.node,
         {.event = {.kind = Event::Kind::read_done,
                    .status = piece.kind == Piece::Kind::read_data ? Errc::ok : Errc::revoked,
                    .endpoint = side.endpoint,
                    .context = read.context}});
}

RegionSlot* World::find_region(std::uint32_t node, std::uint64_t id) {
  auto& regions = nodes[node]->regions;
  const auto slot = id & 0xffff;
  return id != 0 && slot < regions.size() && regions[slot].id == id ? &regions[slot] : nullptr;
}

}  // namespace shoal::sim
