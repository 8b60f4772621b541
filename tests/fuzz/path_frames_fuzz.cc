// The meta of path_* and region_* frames, and the cards of verbs in them, from untrusted bytes:
// what is accepted lies within its bounds and has one encoding. The first byte says which frame.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "transport/paths/messages.h"
#include "transport/verbs/cards.h"

using namespace shoal;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void try_card(const paths::NamedCard& card) {
  require(card.fabric.size() <= paths::kNameMax && card.card.size() <= paths::kCardMax);
}

/// What was read of all of `bytes` is written the same.
template <class M>
void expect_same(const M& message, std::span<const std::byte> bytes) {
  const auto again = encoded(message, paths::kOfferMax);
  require(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
}

void try_ports(std::span<const std::byte> bytes) {
  const auto ports = verbs::parse_ports(bytes);
  if (!ports.ok()) return;
  require(!ports->empty() && ports->size() <= verbs::kRailsMax);
  require(bytes.size() == sizeof(std::uint32_t) + ports->size() * sizeof(verbs::PortCard));
  for (const auto& port : *ports)
    if (verbs::check(port).ok()) require(port.mtu >= 1 && port.mtu <= 5 && port.reads > 0);
}

void try_link(std::span<const std::byte> bytes) {
  const auto card = verbs::parse_link_card(bytes);
  if (!card.ok()) return;
  require(!card->empty() && card->size() <= verbs::kStrandsMax);
  require(bytes.size() == card->size() * sizeof(verbs::StrandCard));
  for (const auto& strand : *card) {
    require(strand.own_rail < verbs::kRailsMax);
    const std::size_t first = &strand == &card->front() ? 0 : 1;
    for (std::size_t i = 0; i < verbs::kPairsPerLink; ++i)
      require((strand.pair_numbers[i] > 1) == (i >= first) && (strand.pair_numbers[i] >> 24) == 0 &&
              (strand.first_packets[i] >> 24) == 0);
  }
}

void try_region(std::span<const std::byte> bytes, std::uint32_t rail) {
  const std::array<std::uint32_t, 2> rails{rail, 0};
  const auto key = verbs::parse_region_card(bytes, rails);
  if (!key.ok()) return;
  for (std::size_t strand = 0; strand < rails.size(); ++strand) {
    std::uint32_t rkey = 0;
    std::memcpy(&rkey, bytes.data() + sizeof(std::uint64_t) + rails[strand] * sizeof rkey,
                sizeof rkey);
    require(verbs::rkey_of(*key, strand) == rkey);
  }
  require(key->words[2] == 0 && key->words[3] == 0);
}

void try_offer(std::span<const std::byte> bytes) {
  Reader in(bytes);
  const auto offer = paths::read_offer(in);
  if (!in.finish("offer").ok()) return;
  require(offer.cards.size() <= paths::kCardsMax);
  for (const auto& card : offer.cards) {
    try_card(card);
    try_ports(card.card);
  }
  expect_same(offer, bytes);
}

void try_named_card(std::span<const std::byte> bytes) {
  Reader in(bytes);
  const auto card = paths::read_named_card(in);
  if (!in.finish("card").ok()) return;
  try_card(card);
  try_link(card.card);
  expect_same(card, bytes);
}

void try_announcement(std::span<const std::byte> bytes, bool known) {
  Reader in(bytes);
  const auto announcement = paths::read_announcement(in, known);
  if (!announcement.ok()) return;
  require(bytes.size() - in.left() == sizeof *announcement);
  require(known ? announcement->access >= 1 && announcement->access <= 3 : in.left() == 0);
  if (!known) return;
  const auto card = bytes.subspan(sizeof *announcement);
  for (const std::uint32_t rail : {0u, 1u, 15u, 16u}) try_region(card, rail);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(1);
  switch (data[0] % 7) {
    case 0:
      try_offer(bytes);
      break;
    case 1:
      try_named_card(bytes);
      break;
    case 2:
      try_announcement(bytes, true);
      break;
    case 3:
      try_announcement(bytes, false);
      break;
    case 4:
      try_ports(bytes);
      break;
    case 5:
      try_link(bytes);
      break;
    default:
      try_region(bytes, data[0] / 7u);
      break;
  }
  return 0;
}
