#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/wire/codec.h"
#include "transport/fabric.h"

// The meta of path_* and region_* frames. See docs/design/selection.md.

namespace shoal::paths {

/// path_offer: what the acceptor has, the best first; path_begin, path_answer: one of them.
struct NamedCard {
  std::string fabric;
  Card card;
};
inline constexpr std::size_t kNameMax = 16;
inline constexpr std::size_t kCardMax = 4u << 10;
inline constexpr std::size_t kCardsMax = 8;
inline constexpr std::size_t kReasonMax = 512;
/// Flags of a connector's path_decline: no fabric leads there, and none should.
inline constexpr std::uint16_t kAsExpected = 1;

inline void encode(Writer& out, const NamedCard& m) {
  out.put_string(m.fabric);
  out.put(static_cast<std::uint32_t>(m.card.size()));
  out.put_bytes(m.card);
}
inline NamedCard read_named_card(Reader& in) {
  NamedCard m;
  m.fabric = in.get_string(kNameMax);
  const auto bytes = in.get_count(1);
  if (bytes > kCardMax) in.fail();
  const auto card = in.get_bytes(in.ok() ? bytes : 0);
  m.card.assign(card.begin(), card.end());
  return m;
}

struct Offer {
  std::vector<NamedCard> cards;
};
inline constexpr std::size_t kOfferMax = kCardsMax * (kCardMax + kNameMax + 8) + 4;

inline void encode(Writer& out, const Offer& m) {
  out.put(static_cast<std::uint32_t>(m.cards.size()));
  for (const auto& card : m.cards) encode(out, card);
}

/// Cards beyond kCardsMax make it malformed.
inline Offer read_offer(Reader& in) {
  Offer m;
  const auto count = in.get_count(2 * sizeof(std::uint32_t));
  if (count > kCardsMax) in.fail();
  for (std::uint32_t i = 0; in.ok() && i < count; ++i) m.cards.push_back(read_named_card(in));
  return m;
}

/// region_key: its card follows. region_gone: only the first field.
struct RegionAnnouncement {
  std::uint64_t region = 0;
  std::uint64_t bytes = 0;
  std::uint64_t access = 0;  ///< Access
};
static_assert(sizeof(RegionAnnouncement) == 24);

/// `known`: whether it is a region_key. Errors: protocol.
inline Result<RegionAnnouncement> read_announcement(Reader& in, bool known) {
  const auto m = in.get<RegionAnnouncement>();
  if (known && (m.access < 1 || m.access > 3)) in.fail();
  if (!known && in.left() > 0) in.fail();
  if (!in.ok()) return Error{Errc::protocol, "malformed region"};
  return m;
}

}  // namespace shoal::paths
