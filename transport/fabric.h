#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/memory/memory_view.h"
#include "transport/transport.h"

// The seam below transport/paths: what RDMA and shared memory have in common. See
// docs/design/selection.md. Private to transport/.

namespace shoal {

/// What a process tells another about itself or its memory; opaque to everybody but the two
/// fabrics.
using Card = std::vector<std::byte>;

/// How one process reaches a region of another: made from the card of the region's owner.
struct RegionKey {
  std::array<std::uint64_t, 4> words{};
};

/// A faster way than TCP to move bytes between two processes that are connected already, and that
/// tell each other over that connection what they have to know. A link stands beside an endpoint of
/// that connection and goes by its id.
///
/// The contract of a link's send, read, write, and of the events that poll() reports, is that of
/// Transport; whatever comes from the peer is untrusted. All methods belong to one loop. Nothing
/// blocks but registering memory and making or destroying links, which may take milliseconds.
class Fabric {
 public:
  virtual ~Fabric() = default;

  /// "verbs", "ucx": names travel to peers, and never change.
  virtual std::string_view name() const = 0;

  // --- Links: the acceptor offers, the connector begins, the acceptor answers, the connector
  // finishes. Then frames of either side arrive at the other.

  /// What a connector needs to choose among our devices.
  virtual Card offer() const = 0;
  /// The connector's half of a link. Errors: unavailable (nothing in common: what was missing),
  /// out_of_range (the peer is where this fabric does not lead, and nothing is wrong),
  /// registration, no_memory, protocol.
  virtual Result<Card> begin(EndpointId endpoint, std::span<const std::byte> offer) = 0;
  /// The acceptor's half, ready. Errors: as begin().
  virtual Result<Card> answer(EndpointId endpoint, std::span<const std::byte> begun) = 0;
  /// The connector's half is ready, too. Errors: as begin().
  virtual Status finish(EndpointId endpoint, std::span<const std::byte> answer) = 0;
  /// Of a frame that tries all that may be wrong between the two: full packets, and more than one.
  virtual std::size_t try_bytes(EndpointId endpoint) const = 0;
  /// Ends every loan before it returns, and the link, but for messages posted before, which have
  /// until drop() to leave. What was posted completes with `closed`.
  virtual void close(EndpointId endpoint) = 0;
  /// Whether a closed link has nothing left to send.
  virtual bool drained(EndpointId endpoint) = 0;
  /// The end of a link, at once and without a word. Idempotent.
  virtual void drop(EndpointId endpoint) = 0;
  /// The peer is lost (`why`): once what has arrived is reported, the link ends with `closed`.
  virtual void lose(EndpointId endpoint, Errc why) = 0;
  /// What carries the link, in a sentence, for `explain` and logs.
  virtual std::string explain(EndpointId endpoint) const = 0;
  /// Which devices of this process do not carry it, and why: "mlx5_1 port 1: the port is down;
  /// ...".
  virtual std::string explain_unused(EndpointId /*endpoint*/) const { return {}; }

  /// What it may be, in brackets, where frames over a new link do not arrive.
  virtual std::string why_silent() const {
    return "a firewall, or a switch with a smaller MTU, between the two?";
  }

  // --- Memory.

  /// Lets peers reach `memory` by the card, under the name `region`, until conceal(), which returns
  /// when nobody can any more. Errors: registration (with what to do about it).
  virtual Result<Card> expose(std::uint64_t region, MemoryView memory, Access access) = 0;
  /// As expose(), for memory that is lent for a while: without pinning it, if pages_on_demand().
  virtual Result<Card> expose_on_demand(std::uint64_t region, MemoryView memory, Access access) {
    return expose(region, memory, access);
  }
  virtual bool pages_on_demand() const { return false; }
  virtual void conceal(std::uint64_t region) = 0;
  /// Takes the card of a peer's region. Errors: protocol.
  virtual Result<RegionKey> import_key(EndpointId endpoint, std::span<const std::byte> card) = 0;
  virtual void forget_key(EndpointId endpoint, const RegionKey& key) = 0;
  /// `memory` will be the source or target of transfers until detach(): they move its bytes without
  /// a copy. Memory that is not attached works, too. Errors: registration. Views may overlap, and
  /// be attached more than once. A transfer that is under way when its memory is detached may fail,
  /// and ends its link then.
  virtual Status attach(MemoryView memory) = 0;
  virtual void detach(MemoryView memory) = 0;
  /// As Transport::pins().
  virtual bool pins() const = 0;
  /// As Transport's.
  virtual MemoryView allocate_shared(std::size_t /*bytes*/) { return {}; }
  virtual bool deallocate_shared(MemoryView /*memory*/) { return false; }
  /// As Transport::one_sided(), of all its links.
  virtual bool one_sided() const { return false; }
  /// As Transport's.
  virtual bool reads_by_copy(const RegionKey& /*key*/) const { return false; }
  virtual bool read_in_place(EndpointId /*endpoint*/, const RegionKey& /*key*/,
                             std::uint64_t /*offset*/, std::size_t /*bytes*/,
                             const Transport::Use& /*use*/) {
    return false;
  }

  // --- Moving bytes. `key` and `offset` are inside the region: the caller has checked. Errors: as
  // Transport's; registration, no_memory: there will never be memory for so large a frame.

  virtual Status send(EndpointId endpoint, const FrameHeader& header,
                      std::span<const std::byte> meta, std::span<const ConstMemoryView> payload,
                      const Transport::SendOptions& options) = 0;
  virtual Status read(EndpointId endpoint, MemoryView to, const RegionKey& key,
                      std::uint64_t offset, std::uint64_t context) = 0;
  virtual Status write(EndpointId endpoint, ConstMemoryView from, const RegionKey& key,
                       std::uint64_t offset, std::uint64_t context) = 0;

  virtual std::size_t poll(std::span<Event> events) = 0;
  virtual void flush() = 0;
  /// Descriptors, one of which becomes readable when poll() has something to do, once arm() has
  /// returned true. They stay the same.
  virtual std::vector<int> wait_fds() const = 0;
  virtual bool arm() = 0;
  /// The next thread that calls is the owner.
  virtual void release_owner() = 0;
};

}  // namespace shoal
