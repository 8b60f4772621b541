#include "transport/sim/driver.h"

#include <algorithm>

namespace shoal {

namespace {

/// A timer that is due but whose turn found nothing to do comes again after this, so that a process
/// that counts in coarser steps cannot stop simulated time.
constexpr Duration kTimerGrain = std::chrono::microseconds(1);

}  // namespace

void SimDriver::attach(SimNodeId node, Pollable& process) {
  if (processes_.size() <= node.value) processes_.resize(node.value + 1);
  processes_[node.value] = &process;
  network_.wake(node);
}

void SimDriver::detach(SimNodeId node) {
  if (node.value < processes_.size()) processes_[node.value] = nullptr;
  network_.set_timer(node, kNever);
}

void SimDriver::turn(SimNodeId node) {
  auto* process = node.value < processes_.size() ? processes_[node.value] : nullptr;
  if (process == nullptr) return;
  const bool busy = process->poll(network_.now());
  // A turn that found work is followed by another one, after a little time in which others run.
  if (busy) network_.wake(node);
  const auto next = process->next_timer();
  network_.set_timer(node, next > network_.now() ? next : network_.now() + kTimerGrain);
}

bool SimDriver::step() {
  if (const auto node = network_.next_ready()) {
    turn(*node);
  } else if (!network_.step()) {
    return false;
  }
  if (check_) check_();
  return true;
}

void SimDriver::run_until(TimePoint until) {
  run_while_not([] { return false; }, until);
}

bool SimDriver::run_while_not(const std::function<bool()>& done, TimePoint limit) {
  while (!done()) {
    if (const auto node = network_.next_ready()) {
      turn(*node);
    } else if (network_.next_event_time() <= limit && network_.step()) {
    } else {
      network_.run_until(limit);
      return false;
    }
    if (check_) check_();
  }
  return true;
}

}  // namespace shoal
