#include <algorithm>
#include <cstring>

#include "transport/ucx/link.h"

// What comes from the peer, all of it untrusted.

namespace shoal::ucx {

// --- Called by UCX -------------------------------------------------------------------------------

ucs_status_t Link::on_packet(void* user, const void* header, std::size_t header_bytes, void* data,
                             std::size_t bytes, const ucp_am_recv_param_t* param) {
  auto& link = *static_cast<Link*>(user);
  const std::span payload(static_cast<const std::byte*>(data), bytes);
  // The peer may be able to change what it sent: once it is looked at it must be ours.
  if (SmallHead head; header_bytes == 0 && bytes >= sizeof head) {
    // What is yet to be fetched shows no secret: it may be anybody's.
    if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) return UCS_OK;
    std::memcpy(&head, data, sizeof head);
    if (link.heeds(head.secret, head.sequence, *param) && !link.closing)
      link.take_frame(head.lane, payload.subspan(sizeof head));
  } else if (Packet packet; header_bytes == sizeof packet) {
    std::memcpy(&packet, header, sizeof packet);
    if (link.heeds(packet.secret, packet.sequence, *param)) link.take(packet, payload);
  }
  return UCS_OK;
}

/// Whether a packet is of the peer, and in its turn.
bool Link::heeds(std::uint64_t secret, std::uint32_t sequence, const ucp_am_recv_param_t& param) {
  // Anybody may send to a worker; only the peer was told this.
  if (secret != own_secret_) return false;
  if ((param.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0)
    lose(Errc::protocol, "the peer sent a packet that has to be fetched");
  else if (sequence != next_in_++)
    lose(Errc::corrupt, "packets of the peer got lost or changed places");
  else
    return lost == Errc::ok || lost == Errc::peer_lost || lost == Errc::closed;
  return false;
}

void Link::on_failed(void* user, ucp_ep_h, ucs_status_t status) {
  auto& link = *static_cast<Link*>(user);
  link.lose(Errc::peer_lost, link.api().status_string(status));
}

// --- Packets -------------------------------------------------------------------------------------

void Link::take(const Packet& packet, std::span<const std::byte> data) {
  switch (packet.kind) {
    case PacketKind::bye:
      queues_[kMessages].push_back({.kind = PacketKind::bye_heard});
      return;
    case PacketKind::bye_heard:
      bye_heard_ = true;
      return;
    default:
      break;
  }
  if (closing) return;
  switch (packet.kind) {
    case PacketKind::nothing:
      return;
    case PacketKind::frame:
      return take_frame(packet.lane, data);
    case PacketKind::write:
      return take_write(packet, data);
    case PacketKind::read:
      return take_read(packet);
    case PacketKind::data:
      return take_data(packet, data);
    case PacketKind::refuse:
      if (auto* read = find_read(packet.read)) end_read(*read, Errc::revoked);
      return;
    default:
      break;
  }
  lose(Errc::protocol, "the peer sent what is no packet");
}

void Link::take_frame(Lane lane, std::span<const std::byte> data) {
  if (lane > Lane::bulk) return lose(Errc::protocol, "the peer sent what is no packet");
  const auto index = static_cast<std::size_t>(lane);
  auto& partial = partial_[index];
  auto& header = headers_[index];
  if (partial == nullptr) {
    if (data.size() < kFrameHeaderBytes)
      return lose(Errc::protocol, "the peer sent what is no frame");
    if (shared_.spare.empty()) shared_.spare.push_back(std::make_unique<Assembly>());
    partial = std::move(shared_.spare.back());
    shared_.spare.pop_back();
    partial->have = 0;
    if (partial->bytes.size() < kFrameHeaderBytes) partial->bytes.resize(kFrameHeaderBytes);
    std::memcpy(partial->bytes.data(), data.data(), kFrameHeaderBytes);
    const auto parsed = parse_header(
        std::span<const std::byte>(partial->bytes).first<kFrameHeaderBytes>(), FrameLimits{});
    if (!parsed.ok()) return lose(parsed.code(), "the peer sent what is no frame");
    header = *parsed;
  }
  const auto all = frame_bytes(header.meta_bytes, static_cast<std::size_t>(header.payload_bytes));
  if (data.size() > all - partial->have || (data.empty() && all > 0))
    return lose(Errc::protocol, "the peer sent more than a frame");
  if (partial->bytes.size() < all) partial->bytes.resize(all);
  // Not the header, which has been looked at.
  const auto skip = partial->have == 0 ? kFrameHeaderBytes : 0;
  std::memcpy(partial->bytes.data() + partial->have + skip, data.data() + skip, data.size() - skip);
  partial->have += data.size();
  if (partial->have < all) return;
  const auto frame = view_of(header, std::span<const std::byte>(partial->bytes).first(all));
  if (checksum_ == Checksum::xxh3)
    if (const auto whole = verify(header, frame.meta); !whole.ok())
      return lose(whole.code(), "the peer sent a frame that is damaged");
  auto* polled = shared_.polled;
  if (polled != nullptr && polled->room() > 0 && shared_.arrived.empty()) {
    shared_.reported.push_back(std::move(partial));
    return polled->put(message_event(id, frame));
  }
  ++unreported;
  shared_.arrived.push_back({id, std::move(partial), frame});
}

// A region that is not there is one that was revoked.
void Link::take_write(const Packet& packet, std::span<const std::byte> data) {
  const auto at = shared_.exposed.find(packet.region);
  if (at == shared_.exposed.end() || data.empty()) return;
  const auto& memory = at->second.memory;
  if (at->second.access == Access::read || packet.offset > memory.bytes ||
      data.size() > memory.bytes - packet.offset)
    return lose(Errc::protocol, "the peer wrote where it may not");
  std::memcpy(memory.data + packet.offset, data.data(), data.size());
}

void Link::take_read(const Packet& packet) {
  auto& answers = queues_[kAnswers];
  if (answers.size() >= kReadsMax) return lose(Errc::protocol, "the peer has too many READs");
  const auto at = shared_.exposed.find(packet.region);
  const bool right = at != shared_.exposed.end() && at->second.access != Access::write &&
                     packet.offset <= at->second.memory.bytes &&
                     packet.bytes <= at->second.memory.bytes - packet.offset;
  if (!right) {
    answers.push_back({.kind = PacketKind::refuse, .read = packet.read});
    return;
  }
  answers.push_back({.kind = PacketKind::data,
                     .lane = Lane::bulk,
                     .from = at->second.memory.data + packet.offset,
                     .bytes = packet.bytes,
                     .region = packet.region,
                     .read = packet.read});
}

// What comes for a READ that has ended is left lying.
void Link::take_data(const Packet& packet, std::span<const std::byte> data) {
  auto* read = find_read(packet.read);
  if (read == nullptr) return;
  if (packet.offset != read->have || data.size() > read->to.bytes - read->have ||
      (data.empty() && read->to.bytes != 0))
    return lose(Errc::protocol, "the peer answers a READ with what was not asked for");
  if (!data.empty()) std::memcpy(read->to.data + read->have, data.data(), data.size());
  read->have += data.size();
  if (read->have == read->to.bytes) end_read(*read, Errc::ok);
}

Link::Read* Link::find_read(std::uint64_t name) {
  const auto index = static_cast<std::uint32_t>(name);
  if (index >= reads_.size()) return nullptr;
  auto& read = reads_[index];
  return read.live && read.generation == name >> 32 ? &read : nullptr;
}

void Link::end_read(Read& read, Errc status) {
  read.live = false;
  free_reads_.push_back(static_cast<std::uint32_t>(&read - reads_.data()));
  complete(Event::Kind::read_done, read.context, status);
}

}  // namespace shoal::ucx
