#pragma once

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "core/base/clock.h"

namespace shoal::sim {

enum class Happening : std::uint8_t {
  depart,           ///< A stream's next piece leaves its sender.
  arrive,           ///< A stream's next piece reaches its receiver.
  connect_try,      ///< A connect reaches its target.
  connect_refused,  ///< `detail`: the Errc that comes back.
  connect_deadline,
  keepalive,  ///< `detail`: since when the peer is out of reach.
  wake,
  timer,
  script,
};

/// What will happen, and to whom: a connection (`index`, `generation`, `stream`: side * 2 + lane),
/// a node or a script.
struct Scheduled {
  TimePoint time;
  std::uint64_t order = 0;  ///< Ties happen in the order in which they were scheduled.
  std::int64_t detail = 0;
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
  Happening what{};
  std::uint8_t stream = 0;
};

/// The future, earliest first.
class EventQueue {
 public:
  EventQueue() { heap_.reserve(1024); }
  bool empty() const { return heap_.empty(); }
  const Scheduled& top() const { return heap_.front(); }
  void push(Scheduled event) {
    event.order = next_order_++;
    heap_.push_back(event);
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  Scheduled pop() {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const auto event = heap_.back();
    heap_.pop_back();
    return event;
  }

 private:
  static bool later(const Scheduled& a, const Scheduled& b) {
    return std::tie(a.time, a.order) > std::tie(b.time, b.order);
  }
  std::vector<Scheduled> heap_;
  std::uint64_t next_order_ = 0;
};

}  // namespace shoal::sim
