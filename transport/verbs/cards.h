#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/wire/codec.h"
#include "transport/fabric.h"

// What two processes tell each other about their ports, links and regions, as it travels; and what
// of it cannot be true.

namespace shoal::verbs {

/// Messages on one pair, writes and what comes behind them on the next, READs on the last: bulk
/// never holds back a message, and READs, which the network carries the other way, neither.
enum class Use : std::uint8_t { message, bulk, read };
inline constexpr std::size_t kPairsPerLink = 3;
/// Ports of a process that are offered to another.
inline constexpr std::size_t kRailsMax = 16;
/// Of these, what one link uses: four of the fastest are more than a host's memory keeps up with.
inline constexpr std::size_t kStrandsMax = 4;
/// PortCard::link_layer of a port that is down.
inline constexpr std::uint8_t kNoLinkLayer = 255;
/// PortCard::mtu, as ibv_mtu numbers 256 B and 4 KiB.
inline constexpr std::uint8_t kMtuCodeMin = 1;
inline constexpr std::uint8_t kMtuCodeMax = 5;
/// InfiniBand Architecture Specification, volume 1: numbers of pairs and packets have 24 bits, and
/// pairs 0 and 1 are the subnet's own.
inline constexpr std::uint32_t kPacketMask = 0xff'ffff;
inline constexpr std::uint32_t kPairNumberMin = 2;

/// What a peer has to know of a port to connect to it.
struct PortCard {
  std::array<std::uint8_t, 16> gid{};
  std::uint16_t lid = 0;
  std::uint8_t link_layer = 0;  ///< LinkLayer, or kNoLinkLayer
  std::uint8_t mtu = 0;         ///< ibv_mtu
  std::uint8_t reads = 0;       ///< READs and atomics that a pair answers at a time
  std::uint8_t reserved = 0;
  std::uint16_t gbit_per_s = 0;  ///< 0: not known
};
static_assert(sizeof(PortCard) == 24 && std::has_unique_object_representations_v<PortCard>);

/// A side's half of a strand. The first strand of a link is its home.
struct StrandCard {
  PortCard port;
  std::uint32_t peer_rail = 0;                              ///< which of the peer's ports it is for
  std::array<std::uint32_t, kPairsPerLink> pair_numbers{};  ///< by Use; 0: of messages, elsewhere
  std::array<std::uint32_t, kPairsPerLink> first_packets{};
  std::uint32_t own_rail = 0;  ///< index of `port` among the sender's
};
static_assert(sizeof(StrandCard) == 56 && std::has_unique_object_representations_v<StrandCard>);
using LinkCard = std::vector<StrandCard>;

/// Whether it can be true of a port that is to carry a link. Errors: protocol.
inline Status check(const PortCard& card) {
  if (card.mtu < kMtuCodeMin || card.mtu > kMtuCodeMax)
    return Error{Errc::protocol, fmt::format("the peer's port has an unknown MTU ({})", card.mtu)};
  if (card.reads == 0) return Error{Errc::protocol, "the peer's port answers no READs"};
  return {};
}

/// Whether it can be true. `home`: of the first strand. Errors: protocol.
inline Status check(const StrandCard& card, bool home) {
  SHOAL_TRY(check(card.port));
  for (std::size_t i = 0; i < kPairsPerLink; ++i) {
    const auto number = card.pair_numbers[i];
    const bool none = !home && i == static_cast<std::size_t>(Use::message);
    const bool possible = none ? number == 0 : number >= kPairNumberMin && number <= kPacketMask;
    if (!possible || card.first_packets[i] > kPacketMask)
      return Error{Errc::protocol, fmt::format("the peer has no queue pair {}, packet {}", number,
                                               card.first_packets[i])};
  }
  if (card.own_rail >= kRailsMax)
    return Error{Errc::protocol, fmt::format("the peer has no port {}", card.own_rail)};
  return {};
}

/// The strands of a link: 1 to kStrandsMax, each between ports of its own. Errors: protocol.
inline Result<LinkCard> parse_link_card(std::span<const std::byte> bytes) {
  Reader in(bytes);
  LinkCard strands(std::clamp(bytes.size() / sizeof(StrandCard), std::size_t{1}, kStrandsMax));
  for (auto& strand : strands) strand = in.get<StrandCard>();
  SHOAL_TRY(in.finish("card of a verbs link"));
  for (std::size_t i = 0; i < strands.size(); ++i) {
    SHOAL_TRY(check(strands[i], i == 0));
    for (std::size_t other = 0; other < i; ++other)
      if (strands[other].own_rail == strands[i].own_rail ||
          strands[other].peer_rail == strands[i].peer_rail)
        return Error{Errc::protocol, "the peer wants a port twice for one link"};
  }
  return strands;
}

/// The ports of an offer: 1 to kRailsMax, each to be checked before it is used. Errors: protocol.
inline Result<std::vector<PortCard>> parse_ports(std::span<const std::byte> bytes) {
  Reader in(bytes);
  std::vector<PortCard> ports(in.get_count(sizeof(PortCard)));
  if (ports.empty() || ports.size() > kRailsMax) in.fail();
  for (auto& port : ports) port = in.get<PortCard>();
  SHOAL_TRY(in.finish("offer of verbs ports"));
  return ports;
}

/// The key of a link's strand for a region.
inline std::uint32_t rkey_of(const RegionKey& key, std::size_t strand) {
  return static_cast<std::uint32_t>(key.words[1 + strand / 2] >> (32 * (strand % 2)));
}
static_assert(1 + (kStrandsMax - 1) / 2 < std::tuple_size_v<decltype(RegionKey::words)>);

/// The card of a region: its address, and a key for each of its owner's ports, of which those of
/// `rails` are wanted, one for each strand. Errors: protocol.
inline Result<RegionKey> parse_region_card(std::span<const std::byte> bytes,
                                           std::span<const std::uint32_t> rails) {
  Reader in(bytes);
  RegionKey key;
  key.words[0] = in.get<std::uint64_t>();
  std::vector<std::uint32_t> rkeys(std::min(in.left() / sizeof(std::uint32_t), kRailsMax));
  for (auto& rkey : rkeys) rkey = in.get<std::uint32_t>();
  for (std::size_t strand = 0; strand < rails.size(); ++strand) {
    if (rails[strand] >= rkeys.size()) {
      in.fail();
      break;
    }
    key.words[1 + strand / 2] |= std::uint64_t{rkeys[rails[strand]]} << (32 * (strand % 2));
  }
  SHOAL_TRY(in.finish("key of a region"));
  return key;
}

}  // namespace shoal::verbs
