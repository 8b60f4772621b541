#pragma once

#include <vector>

#include "server/engine/plane.h"

namespace shoal {

/// Tells workers where they can READ segments of tables that are pulled from one-sidedly, and
/// exposes those segments piece by piece. See docs/design/one_sided.md. Belongs to the server's
/// loop.
class Directories {
 public:
  explicit Directories(Plane& plane) : plane_(plane) {}

  /// Answers a `directory` request to a table that is served. False: the frame is not one that a
  /// correct worker sends.
  bool handle(Peer& peer, TableState& table, const FrameView& frame);
  /// Exposes some more, a chunk a turn, as registering one takes milliseconds. True: did something.
  bool expose_some();
  bool busy() const { return !exposing_.empty(); }
  /// Before a slot is dropped.
  void drop(SlotState& slot) { std::erase(exposing_, &slot); }

 private:
  bool add(SlotState& slot);

  Plane& plane_;
  std::vector<SlotState*> exposing_;  ///< segments of which have no place in their entries yet
  std::vector<DirectorySlot> told_;   ///< of one answer
};

}  // namespace shoal
