#include <fmt/core.h>

#include <map>

#include "tests/transport/contract.h"
#include "transport/sim/sim.h"

namespace shoal::contract {
namespace {

class SimBackend final : public Backend {
 public:
  explicit SimBackend(const SimOptions& options) : network_(options) {}

  const Clock& clock() const override { return network_.clock(); }
  Node make(bool right_token) override {
    const auto name = fmt::format("node{}", count_++);
    nodes_[name] = network_.create_node(name);
    return {network_.start(nodes_[name], right_token ? 1 : 2), {name, 0}};
  }
  Node restart(const Address& at) override { return {network_.start(nodes_.at(at.host)), at}; }
  bool advance() override { return network_.step(); }
  Address silent_address() override {
    const auto node = network_.create_node("silent");
    silent_ = network_.start(node);
    auto address = silent_->listen({"silent", 0}).value();
    network_.stop(node);
    return address;
  }
  Address dead_address() override {
    network_.create_node("dead");
    return {"dead", 1};
  }
  std::string blocks_never_because() const override {
    return "simulated: its clock waits for nobody";
  }
  std::string touches_freed_because(bool /*written*/) const override {
    return "the simulated network moves bytes by the CPU";
  }
  std::string allocates_because() const override {
    return "the simulated network pools its memory, but a random run may reach a new peak";
  }

 private:
  SimNetwork network_;
  std::unique_ptr<Transport> silent_;
  std::map<std::string, SimNodeId> nodes_;
  int count_ = 0;
};

std::vector<BackendFactory> sims() {
  std::vector<BackendFactory> factories;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    SimOptions options;
    options.seed = seed;
    if (seed % 2 == 0) options.link = {.delay_max = std::chrono::milliseconds(5), .straggle = 0.2};
    if (seed % 4 == 3) options.window_pieces = 3;
    factories.push_back(
        {fmt::format("sim{}", seed), [options] { return std::make_unique<SimBackend>(options); }});
  }
  return factories;
}

INSTANTIATE_TEST_SUITE_P(Sim, TransportContract, testing::ValuesIn(sims()), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Sim, BulkContract, testing::ValuesIn(sims()), name_of_backend);

}  // namespace
}  // namespace shoal::contract
