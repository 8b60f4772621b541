#include "transport/sim/world.h"

#include <fmt/core.h>

#include "transport/sim/sim_transport.h"

namespace shoal::sim {

World::World(const SimOptions& given) : options(given), random(given.seed) {}

World::~World() { SHOAL_ASSERT(transports == 0, "a simulated network dies before its transports"); }

std::uint32_t World::create_node(std::string_view name) {
  const auto count = nodes.size() + 1;
  std::vector<LinkState> links(count * count);
  for (auto& each : links) each.options = options.link;
  for (std::uint32_t from = 0; from + 1 < count; ++from)
    for (std::uint32_t to = 0; to + 1 < count; ++to) links[from * count + to] = link(from, to);
  links_.swap(links);
  nodes.push_back(std::make_unique<NodeState>());
  nodes.back()->name = name;
  return static_cast<std::uint32_t>(count - 1);
}

void World::schedule(TimePoint time, Happening what, std::uint32_t index, std::uint32_t generation,
                     std::uint8_t stream, std::int64_t detail) {
  queue_.push({.time = std::max(time, now()),
               .detail = detail,
               .index = index,
               .generation = generation,
               .what = what,
               .stream = stream});
}

bool World::step() {
  if (queue_.empty()) return false;
  const auto event = queue_.pop();
  clock.now_ = event.time;
  ++handled;
  mix(static_cast<std::uint64_t>(event.time.time_since_epoch().count()) ^
      (std::uint64_t{event.index} << 8) ^ (std::uint64_t{event.stream} << 4) ^
      static_cast<std::uint64_t>(event.what));
  handle(event);
  return true;
}

void World::handle(const Scheduled& event) {
  switch (event.what) {
    case Happening::depart:
      if (find_connection(event) != nullptr) on_depart(event.index, event.stream);
      return;
    case Happening::arrive:
      if (find_connection(event) != nullptr) on_arrive(event.index, event.stream);
      return;
    case Happening::connect_try:
      if (find_connection(event) != nullptr) on_connect_try(event.index);
      return;
    case Happening::connect_refused:
      if (find_connection(event) != nullptr)
        on_connect_ended(event.index, static_cast<Errc>(event.detail));
      return;
    case Happening::connect_deadline:
      if (find_connection(event) != nullptr) on_connect_ended(event.index, Errc::timed_out);
      return;
    case Happening::keepalive:
      if (find_connection(event) != nullptr) on_keepalive(event);
      return;
    case Happening::wake:
      nodes[event.index]->wake_scheduled = false;
      make_ready(event.index);
      return;
    case Happening::timer:
      if (nodes[event.index]->timer_generation != event.generation) return;
      nodes[event.index]->timer = kNever;
      make_ready(event.index);
      return;
    case Happening::script: {
      const auto script = std::move(scripts_[event.index]);
      free_scripts_.push_back(event.index);
      script();
      return;
    }
  }
}

void World::at(TimePoint when, std::function<void()> script) {
  if (free_scripts_.empty()) {
    free_scripts_.push_back(static_cast<std::uint32_t>(scripts_.size()));
    scripts_.emplace_back();
  }
  const auto index = free_scripts_.back();
  free_scripts_.pop_back();
  scripts_[index] = std::move(script);
  schedule(when, Happening::script, index);
}

Duration World::up_to(Duration most) {
  return most <= Duration::zero()
             ? Duration::zero()
             : Duration(random.below(static_cast<std::uint64_t>(most.count()) + 1));
}

Duration World::delay(std::uint32_t from, std::uint32_t to) {
  const auto& how = link(from, to).options;
  auto time = how.delay_min + up_to(how.delay_max - how.delay_min);
  if (how.straggle > 0 && random.chance(how.straggle)) time += up_to(how.straggle_max);
  const double slowness = nodes[from]->slowness * nodes[to]->slowness;
  return slowness == 1.0
             ? time
             : Duration(static_cast<std::int64_t>(static_cast<double>(time.count()) * slowness));
}

// --- Turns.

void World::report(std::uint32_t node, const Report& what) {
  nodes[node]->inbox.push_back(what);
  wake(node);
}

void World::wake(std::uint32_t index) {
  auto& node = *nodes[index];
  if (node.wake_scheduled || node.in_ready) return;
  node.wake_scheduled = true;
  auto wait = up_to(options.poll_delay_max);
  if (node.slowness != 1.0)
    wait = Duration(static_cast<std::int64_t>(static_cast<double>(wait.count()) * node.slowness));
  schedule(now() + wait, Happening::wake, index);
}

void World::set_timer(std::uint32_t index, TimePoint when) {
  auto& node = *nodes[index];
  if (node.timer == when) return;
  node.timer = when;
  ++node.timer_generation;
  if (when != kNever) schedule(when, Happening::timer, index, node.timer_generation);
}

void World::make_ready(std::uint32_t index) {
  auto& node = *nodes[index];
  if (node.in_ready || node.transport == nullptr) return;
  node.in_ready = true;
  ready_.push_back(index);
}

std::optional<std::uint32_t> World::next_ready() {
  while (ready_head_ < ready_.size()) {
    const auto index = ready_[ready_head_++];
    auto& node = *nodes[index];
    node.in_ready = false;
    // A stopped node gets its turn from resume().
    if (node.transport != nullptr && !node.stopped) return index;
  }
  ready_.clear();
  ready_head_ = 0;
  return std::nullopt;
}

// --- Loans.

void World::touch(const std::byte* data, std::size_t bytes, std::uint32_t node, const char* how) {
  if (protected_ranges.empty() || bytes == 0) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  auto after = protected_ranges.lower_bound(begin + bytes);
  if (after == protected_ranges.begin()) return;
  --after;
  if (after->first + after->second <= begin || violations.size() >= kViolationsMax) return;
  violations.push_back(fmt::format("at {} ns {} bytes {} memory of {} whose loan had ended",
                                   now().time_since_epoch().count(), bytes, how,
                                   nodes[node]->name));
}

}  // namespace shoal::sim
