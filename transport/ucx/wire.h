#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "transport/transport.h"

// What travels over a link. See docs/design/ucx.md.

namespace shoal::ucx {

/// Of cards and packets; another number is not understood.
inline constexpr std::uint32_t kWireVersion = 4;
/// The active message that packets are.
inline constexpr unsigned kMessageId = 1;

enum class PacketKind : std::uint8_t {
  nothing,    ///< was something whose memory is gone
  frame,      ///< a piece of a frame; frames of a lane come in order
  write,      ///< bytes for `region` at `offset`
  read,       ///< asks for `bytes` of `region` at `offset`, under the name `read`
  data,       ///< bytes of `read`, in order
  refuse,     ///< `read` gets no (more) data
  bye,        ///< the last packet of a link that was closed
  bye_heard,  ///< its answer
};
inline constexpr std::uint8_t kPacketKinds = 8;

/// The header of each active message; its data follows.
struct Packet {
  std::uint64_t secret = 0;    ///< the receiver's, of the link
  std::uint32_t sequence = 0;  ///< counts packets of a link and direction
  PacketKind kind = PacketKind::nothing;
  Lane lane = Lane::message;
  std::uint16_t reserved = 0;
  std::uint64_t region = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t read = 0;
};
static_assert(sizeof(Packet) == 48 && std::has_unique_object_representations_v<Packet>);
static_assert(offsetof(Packet, sequence) == 8 && offsetof(Packet, kind) == 12);
static_assert(offsetof(Packet, region) == 16 && offsetof(Packet, read) == 40);

/// Before a whole frame that is small: an active message of these bytes and the frame's, without a
/// header of its own.
struct SmallHead {
  std::uint64_t secret = 0;
  std::uint32_t sequence = 0;  ///< as of a Packet
  Lane lane = Lane::message;
  std::array<std::uint8_t, 3> reserved{};
};
static_assert(sizeof(SmallHead) == 16 && std::has_unique_object_representations_v<SmallHead>);

/// What an acceptor tells before any link is made.
struct OfferCard {
  std::uint32_t version = kWireVersion;
  std::uint32_t other_hosts = 0;  ///< 1: UCX may have a way to them
  std::uint64_t host = 0;         ///< the same in all processes of a host, since it was started
};
static_assert(sizeof(OfferCard) == 16 && std::has_unique_object_representations_v<OfferCard>);

/// What a side tells the other about its half of a link; the address of its worker follows.
struct LinkCard {
  std::uint32_t version = kWireVersion;
  std::uint32_t turnstile = 0;  ///< of the link, in the gates of this side's shared pages
  std::uint64_t secret = 0;
};
static_assert(sizeof(LinkCard) == 16 && std::has_unique_object_representations_v<LinkCard>);

}  // namespace shoal::ucx
