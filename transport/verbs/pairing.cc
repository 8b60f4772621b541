#include "transport/verbs/pairing.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <tuple>

#include "transport/verbs/limits.h"

namespace shoal::verbs {

namespace {

/// Leading bits that two GIDs have in common.
int common_bits(const PortCard& a, const PortCard& b) {
  int bits = 0;
  for (std::size_t i = 0; i < a.gid.size(); ++i) {
    const auto different = static_cast<std::uint8_t>(a.gid[i] ^ b.gid[i]);
    bits += std::countl_zero(different);
    if (different != 0) break;
  }
  return bits;
}

/// A strand of other speed would hold the rest back.
bool as_fast(std::span<const OwnPort> own, std::span<const PortCard> theirs, const Pairing& a,
             const Pairing& b) {
  return own[a.own].card.gbit_per_s == own[b.own].card.gbit_per_s &&
         theirs[a.theirs].gbit_per_s == theirs[b.theirs].gbit_per_s;
}

struct Candidate {
  Pairing pairing;
  int bits = 0;
  unsigned distance = 0;

  auto rank() const { return std::tuple(-bits, distance, pairing.own, pairing.theirs); }
};

}  // namespace

bool can_talk(const PortCard& a, const PortCard& b) {
  return a.link_layer == b.link_layer && a.link_layer != kNoLinkLayer;
}

Result<std::vector<Pairing>> choose_pairings(std::span<const OwnPort> own,
                                             std::span<const PortCard> theirs,
                                             std::size_t strands_max) {
  std::vector<Candidate> candidates;
  for (std::uint32_t i = 0; i < own.size(); ++i) {
    for (std::uint32_t j = 0; j < theirs.size(); ++j) {
      if (!can_talk(own[i].card, theirs[j])) continue;
      SHOAL_TRY(check(theirs[j]));
      candidates.push_back({{i, j}, common_bits(own[i].card, theirs[j]), own[i].distance});
    }
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.rank() < b.rank(); });
  std::vector<Pairing> chosen;
  for (const auto& candidate : candidates) {
    if (chosen.size() == strands_max || candidate.bits < candidates.front().bits - kStrandBits)
      break;
    const auto& pairing = candidate.pairing;
    const auto& home = candidates.front().pairing;
    const bool taken = std::any_of(chosen.begin(), chosen.end(), [&](const Pairing& one) {
      return one.own == pairing.own || one.theirs == pairing.theirs;
    });
    if (as_fast(own, theirs, pairing, home) && !taken) chosen.push_back(pairing);
  }
  return chosen;
}

std::string why_not_chosen(std::uint32_t port, std::span<const OwnPort> own,
                           std::span<const PortCard> theirs, std::span<const Pairing> chosen,
                           std::size_t strands_max) {
  const auto& home = chosen.front();
  const int home_bits = common_bits(own[home.own].card, theirs[home.theirs]);
  bool can = false, fast = false, free = false, near = false;
  for (std::uint32_t i = 0; i < theirs.size(); ++i) {
    if (!can_talk(own[port].card, theirs[i])) continue;
    can = true;
    fast |= as_fast(own, theirs, {port, i}, home);
    if (std::any_of(chosen.begin(), chosen.end(), [&](const auto& one) { return one.theirs == i; }))
      continue;
    free = true;
    near |= common_bits(own[port].card, theirs[i]) >= home_bits - kStrandBits;
  }
  if (!can) return "the peer has no port of its link layer that is up";
  const auto* speed = "its speed, or the peer's, is not that of the ports in use";
  if (!fast) return speed;  // which more rails would not help
  if (chosen.size() == strands_max)
    return strands_max == 1 ? "one port is used (rails = 1)"
                            : fmt::format("{} others are used (rails)", strands_max);
  if (!free) return "the peer has no port left for it";
  if (!near) return "its address has less in common with the peer's than that of the port in use";
  return speed;
}

}  // namespace shoal::verbs
