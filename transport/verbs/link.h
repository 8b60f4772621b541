#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "transport/links.h"
#include "transport/verbs/pair.h"

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

/// The half of a link that is ours.
class Link {
 public:
  /// `rail` and `counters` outlive it; `index` names it in its pairs' completions.
  static Result<std::unique_ptr<Link>> create(EndpointId id, Rail& rail, std::uint32_t rail_index,
                                              std::uint32_t index, Counters& counters);
  ~Link();

  LinkCard card() const;
  /// Errors: unavailable.
  Status connect(const LinkCard& peer);
  Pair& pair(Use use) { return pairs_[static_cast<std::size_t>(use)]; }
  std::span<Pair> pairs() { return pairs_; }
  /// Ends WRITEs and READs and what was to follow them: no byte lands in, or leaves, lent memory.
  template <class Ended>
  void end_bulk(Ended&& ended) {
    for (const auto use : {Use::bulk, Use::read}) end(use, ended);
  }
  template <class Ended>
  void end(Use use, Ended&& ended) {
    auto& one = pair(use);
    if (!one.alive()) return;
    if (use != Use::read) {
      one.stop();
      rail.keep(queue);
    }
    rail.bury(one.number());
    one.destroy(ended);
  }

  const EndpointId id;
  Rail& rail;
  const std::uint32_t rail_index;
  const std::size_t queue;
  const std::uint32_t index;
  std::array<Assembler, 2> incoming;  ///< by Lane
  LinkCard peer;
  std::string peer_name;  ///< its port's address
  bool ready = false;     ///< connected: frames may be sent
  bool closing = false;   ///< its owner has closed it
  Errc lost = Errc::ok;   ///< ends once all that has arrived is reported
  bool dirty = false;     ///< in the list of those with something to post

 private:
  Link(EndpointId id_, Rail& rail_, std::uint32_t rail_index_, std::size_t queue_,
       std::uint32_t index_, std::vector<Pair> pairs)
      : id(id_),
        rail(rail_),
        rail_index(rail_index_),
        queue(queue_),
        index(index_),
        pairs_(std::move(pairs)) {}
  std::vector<Pair> pairs_;  ///< by Use
};

}  // namespace shoal::verbs
