#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "transport/verbs/cards.h"

namespace shoal::verbs {

/// A port of ours, as candidate for a link.
struct OwnPort {
  PortCard card;          ///< link_layer is kNoLinkLayer unless it can be used
  unsigned distance = 0;  ///< of its device from Numa::home_node, as the kernel counts it
};

/// Ports that are to talk to each other: indices in both sides' lists.
struct Pairing {
  std::uint32_t own = 0;
  std::uint32_t theirs = 0;
  friend bool operator==(const Pairing&, const Pairing&) = default;
};

/// Which ports a link uses, at most `strands_max`, its home first: the two whose addresses have
/// most in common, as they are most likely to reach each other, and of equals the device that is
/// nearest. More, each port once, as long as they are as fast as the home's and have about as much
/// in common. Empty: there are none that can talk. Errors: protocol.
Result<std::vector<Pairing>> choose_pairings(std::span<const OwnPort> own,
                                             std::span<const PortCard> theirs,
                                             std::size_t strands_max);

/// Why the `port` of ours is not among `chosen`, which choose_pairings() gave, for people.
std::string why_not_chosen(std::uint32_t port, std::span<const OwnPort> own,
                           std::span<const PortCard> theirs, std::span<const Pairing> chosen,
                           std::size_t strands_max);

/// Whether ports of these may carry a strand.
bool can_talk(const PortCard& a, const PortCard& b);

}  // namespace shoal::verbs
