#include "transport/sim/sim.h"

#include "transport/sim/sim_transport.h"
#include "transport/sim/world.h"

namespace shoal {

SimNetwork::SimNetwork(const SimOptions& options) : world_(std::make_unique<sim::World>(options)) {}
SimNetwork::~SimNetwork() = default;

SimNodeId SimNetwork::create_node(std::string_view name) {
  return SimNodeId(world_->create_node(name));
}

std::unique_ptr<Transport> SimNetwork::start(SimNodeId node, std::uint64_t token) {
  SHOAL_ASSERT(!alive(node), "the node runs a process already");
  world_->process_starts(node.value);
  return std::make_unique<sim::SimTransport>(*world_, node.value, token);
}

std::string_view SimNetwork::name_of(SimNodeId node) const {
  return world_->nodes[node.value]->name;
}
bool SimNetwork::alive(SimNodeId node) const {
  return world_->nodes[node.value]->transport != nullptr;
}

const Clock& SimNetwork::clock() const { return world_->clock; }
TimePoint SimNetwork::next_event_time() const { return world_->next_time(); }
bool SimNetwork::step() { return world_->step(); }
void SimNetwork::run_until(TimePoint until) {
  while (!world_->idle() && world_->next_time() <= until) world_->step();
  if (until != kNever && until > world_->clock.now_) world_->clock.now_ = until;
}
void SimNetwork::at(TimePoint when, std::function<void()> script) {
  world_->at(when, std::move(script));
}

bool SimNetwork::has_events(SimNodeId node) const {
  auto& state = *world_->nodes[node.value];
  return state.transport != nullptr && !state.stopped && !state.inbox.empty();
}
std::optional<SimNodeId> SimNetwork::next_ready() {
  const auto node = world_->next_ready();
  return node ? std::optional(SimNodeId(*node)) : std::nullopt;
}
void SimNetwork::wake(SimNodeId node) { world_->wake(node.value); }
void SimNetwork::set_timer(SimNodeId node, TimePoint when) { world_->set_timer(node.value, when); }

void SimNetwork::crash(SimNodeId node, bool silent) { world_->process_ends(node.value, silent); }
void SimNetwork::stop(SimNodeId node) { world_->nodes[node.value]->stopped = alive(node); }
void SimNetwork::resume(SimNodeId node) { world_->resume(node.value); }
bool SimNetwork::stopped(SimNodeId node) const { return world_->nodes[node.value]->stopped; }
void SimNetwork::cut(SimNodeId from, SimNodeId to) { world_->cut(from.value, to.value); }
void SimNetwork::partition(SimNodeId a, SimNodeId b) {
  cut(a, b);
  cut(b, a);
}
void SimNetwork::isolate(SimNodeId node) {
  for (std::uint32_t other = 0; other < world_->nodes.size(); ++other)
    partition(node, SimNodeId(other));
}
void SimNetwork::heal(SimNodeId a, SimNodeId b) { world_->heal(a.value, b.value); }
void SimNetwork::heal_all() {
  for (std::uint32_t a = 0; a < world_->nodes.size(); ++a)
    for (std::uint32_t b = 0; b < a; ++b) world_->heal(a, b);
}
void SimNetwork::drop_connections(SimNodeId a, SimNodeId b) {
  world_->drop_connections(a.value, b.value);
}
void SimNetwork::slow(SimNodeId node, double factor) {
  world_->nodes[node.value]->slowness = factor;
}
void SimNetwork::set_link(SimNodeId from, SimNodeId to, const SimLink& link) {
  world_->link(from.value, to.value).options = link;
}

std::uint64_t SimNetwork::random(std::uint64_t bound) { return world_->random.below(bound); }
std::uint64_t SimNetwork::trace_hash() const { return world_->trace(); }
std::uint64_t SimNetwork::events_handled() const { return world_->handled; }
std::size_t SimNetwork::connections() const {
  std::size_t count = 0;
  for (const auto& connection : world_->connections) count += connection->in_use ? 1 : 0;
  return count;
}

void SimNetwork::protect(ConstMemoryView memory) {
  if (memory.bytes > 0)
    world_->protected_ranges[reinterpret_cast<std::uintptr_t>(memory.data)] = memory.bytes;
}
void SimNetwork::unprotect(ConstMemoryView memory) {
  world_->protected_ranges.erase(reinterpret_cast<std::uintptr_t>(memory.data));
}
std::span<const std::string> SimNetwork::violations() const { return world_->violations; }

}  // namespace shoal
