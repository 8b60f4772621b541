#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/links.h"
#include "transport/verbs/bulk_gate.h"
#include "transport/verbs/pair.h"
#include "transport/verbs/splits.h"

namespace shoal::verbs {

/// The pieces of frames that a pair receives: in order, each frame's beginning with its header.
class Assembler {
 public:
  enum class Next : std::uint8_t { none, frame, failed };

  /// Takes the bytes of a receive. `frame`: it points into `bytes`, or into an assembly that the
  /// caller gets in `whole` and gives to `spare` when the frame has been used.
  Next add(std::span<const std::byte> bytes, FrameView& frame, std::unique_ptr<Assembly>& whole,
           std::vector<std::unique_ptr<Assembly>>& spare);
  /// Nothing is added any more: a lane that misses something brings only what was before.
  Next fail(Errc why) {
    if (error_ == Errc::ok) error_ = why;
    return Next::failed;
  }
  /// Why, after `failed`.
  Errc error() const { return error_; }

 private:
  FrameHeader header_;
  std::unique_ptr<Assembly> partial_;
  Errc error_ = Errc::ok;
};

/// What the pairs of a strand are called in wr_ids: this, with their Use added. 0 is no pair's.
constexpr std::uint32_t pair_name(std::uint32_t link, std::uint32_t strand) {
  return (link * std::uint32_t{kStrandsMax} + strand) * std::uint32_t{kPairsPerLink} + 1;
}

/// A link's part over one of our ports: its pairs to one of the peer's. The first strand of a link,
/// its home, carries messages, too.
class Strand {
 public:
  /// `rail` and `counters` outlive it; `name` is its pair_name().
  static Result<std::unique_ptr<Strand>> create(Rail& rail, std::uint32_t rail_index, bool home,
                                                std::uint32_t name, Counters& counters);
  ~Strand();
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;

  StrandCard card() const;
  /// Errors: unavailable.
  Status connect(const StrandCard& peer);
  bool has(Use use) const { return use != Use::message || home_; }
  Pair& pair(Use use) { return pairs_[static_cast<std::size_t>(use) - (home_ ? 0 : 1)]; }
  std::span<Pair> pairs() { return pairs_; }
  template <class Ended>
  void end(Use use, Ended&& ended) {
    if (has(use)) end(pair(use), ended);
  }

  Rail& rail;
  const std::uint32_t rail_index;
  const std::size_t queue;
  StrandCard peer;
  bool heard = false;   ///< something of the peer came on it
  bool written = true;  ///< WRITEs went on it since its last token, or nothing has at all

 private:
  Strand(Rail& rail_, std::uint32_t rail_index_, std::size_t queue_, bool home)
      : rail(rail_), rail_index(rail_index_), queue(queue_), home_(home) {}
  /// A pair that receives leaves completions behind.
  template <class Ended>
  void end(Pair& one, Ended&& ended) {
    if (!one.alive()) return;
    if (&one != &pairs_.back()) {
      one.stop();
      rail.keep(queue);
    }
    rail.bury(one.number());
    one.destroy(ended);
  }

  const bool home_;
  std::vector<Pair> pairs_;  ///< by Use, from the first that it has
};

/// The half of a link that is ours.
class Link {
 public:
  /// A place for a strand: one of our rails, and which of the peer's it is for.
  struct Place {
    Rail& rail;
    std::uint32_t own_rail = 0;
    std::uint32_t peer_rail = 0;
  };
  /// Rails and `counters` outlive it; `index` names it in its pairs' completions. The first place
  /// is the home's.
  static Result<std::unique_ptr<Link>> create(EndpointId id, std::span<const Place> places,
                                              std::uint32_t index, Counters& counters);

  LinkCard card() const;
  /// `peer`: a card for each strand. Errors: unavailable.
  Status connect(const LinkCard& peer);
  Strand& home() const { return *strands_.front(); }
  std::span<const std::unique_ptr<Strand>> strands() const { return strands_; }
  /// Whether a strand goes over that rail.
  bool uses(std::uint32_t rail_index) const;
  /// And its completions come to that queue of the rail's.
  bool uses(std::uint32_t rail_index, std::size_t queue) const;
  bool has_pair(std::uint32_t rail_index, std::uint32_t number) const;
  /// Whether frames of the peer's may wait for these.
  bool knows(BulkGate::Strands awaits) const {
    return (awaits & 1) == 0 && awaits >> strands_.size() == 0;
  }
  /// Hands over what the devices have room for. Errors: as Pair::post().
  Status post();

  /// Queues a frame: on the bulk lane behind all WRITEs, whatever strand they went on. Errors: as
  /// Pair::push_frame().
  Status push_frame(const FrameHeader& header, std::span<const std::byte> meta,
                    std::span<const ConstMemoryView> payload, Lane lane);
  /// Of packets between the homes.
  std::size_t packet_bytes() const;
  /// Ends WRITEs and READs and what was to follow them: no byte lands in, or leaves, lent memory.
  template <class Ended>
  void end_bulk(Ended&& ended) {
    for (const auto& strand : strands_)
      for (const auto use : {Use::bulk, Use::read}) strand->end(use, ended);
  }

  const EndpointId id;
  const std::uint32_t index;
  std::array<Assembler, 2> incoming;  ///< by Lane
  BulkGate gate;
  Splits splits;
  std::size_t next_strand = 0;  ///< takes the next transfer's first part
  std::string peer_name;        ///< its home port's address
  std::string passed_over;      ///< which of our ports have no strand, and why
  bool ready = false;           ///< connected: frames may be sent
  bool closing = false;         ///< its owner has closed it
  Errc lost = Errc::ok;         ///< ends once all that has arrived is reported
  bool dirty = false;           ///< in the list of those with something to post

 private:
  Link(EndpointId id_, std::uint32_t index_) : id(id_), index(index_) {}
  std::vector<std::unique_ptr<Strand>> strands_;
};

}  // namespace shoal::verbs
