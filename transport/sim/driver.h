#pragma once

#include <functional>
#include <vector>

#include "transport/loop.h"
#include "transport/sim/sim.h"

namespace shoal {

/// Runs Pollables on a simulated network: each gets a turn when its transport has events, its timer
/// is due, or wake() was called, one at a time, in an order that follows from the seed. A whole
/// cluster in one thread. See docs/design/simulation.md.
class SimDriver {
 public:
  explicit SimDriver(SimNetwork& network) : network_(network) {}

  /// From now on `process` has the node's turns. Not owned; its first turn comes soon.
  void attach(SimNodeId node, Pollable& process);
  /// Before the process is destroyed.
  void detach(SimNodeId node);
  /// Called after every turn and every event: where invariants are checked.
  void after_each(std::function<void()> check) { check_ = std::move(check); }

  /// One turn of one process, or the next event. False: nothing will happen any more.
  bool step();
  /// Everything up to `until`.
  void run_until(TimePoint until);
  /// Steps until `done`, at most until `limit`. False: not done by then.
  bool run_while_not(const std::function<bool()>& done, TimePoint limit);

 private:
  void turn(SimNodeId node);
  SimNetwork& network_;
  std::vector<Pollable*> processes_;  // by node
  std::function<void()> check_;
};

}  // namespace shoal
