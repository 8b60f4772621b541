#include <poll.h>

#include "tests/transport/contract.h"
#include "tests/transport/tcp_fixture.h"
#include "tests/verbs/soft_adapter.h"
#include "transport/paths/paths.h"
#include "transport/verbs/verbs.h"

namespace shoal::contract {
namespace {

using verbs::test::FabricOptions;
using verbs::test::SoftFabric;

/// Processes with a software adapter each, and sockets on 127.0.0.1 to meet over.
class SoftVerbsBackend final : public TcpBackend {
 public:
  SoftVerbsBackend(const FabricOptions& options, int devices)
      : instant_(options.instant),
        pages_may_go_(options.pages_may_go),
        devices_(devices),
        network_(options) {}
  ~SoftVerbsBackend() override {
    for (const auto& what : network_.misuse()) ADD_FAILURE() << what;
    EXPECT_EQ(network_.objects(), 0u) << "something was made and not destroyed";
  }

  Node make(bool right_token) override {
    const auto host = std::to_string(++hosts_);
    for (int i = 0; i < devices_; ++i) {
      verbs::test::DeviceOptions device{.name = "soft" + host + "_" + std::to_string(i),
                                        .host = host};
      device.attributes.max_mr = 4096;
      network_.add_device(std::move(device));
    }
    const SoftFabric::Current current(network_, host);
    paths::PathOptions options;
    options.tcp.token = token(right_token);
    options.fabrics.push_back(verbs::create_fabric(SoftFabric::api(), {}, clock()).value());
    return watch(paths::create_paths(std::move(options), clock()).value());
  }
  bool advance() override {
    bool moved = false;
    for (int i = 0; i < 20 && network_.step(); ++i) moved = true;
    if (moved) return still_alive();
    network_.pass(std::chrono::milliseconds(1));
    return TcpBackend::advance();
  }
  std::string blocks_never_because() const override {
    return instant_ ? "" : "the network moves only while the test lets it";
  }
  std::string touches_freed_because(bool /*written*/) const override {
    return pages_may_go_ ? "" : "the software adapter pins nothing, and moves bytes by the CPU";
  }
  bool copies_frames() const override { return true; }
  bool announces_regions() const override { return true; }
  bool revoking_disconnects() const override { return true; }

 private:
  const bool instant_;
  const bool pages_may_go_;
  const int devices_;  ///< of each process
  SoftFabric network_;
  int hosts_ = 0;
};

/// Processes with the real devices of this machine.
class DeviceBackend final : public TcpBackend {
 public:
  explicit DeviceBackend(verbs::Api api) : api_(api) {}

  Node make(bool right_token) override {
    paths::PathOptions options;
    options.tcp.token = token(right_token);
    // An emulated machine takes its time.
    options.try_timeout = std::chrono::seconds(30);
    options.fabric_required = true;
    options.fabrics.push_back(verbs::create_fabric(api_, {}, clock()).value());
    return watch(paths::create_paths(std::move(options), clock()).value());
  }
  std::string touches_freed_because(bool /*written*/) const override { return {}; }
  bool copies_frames() const override { return true; }
  bool announces_regions() const override { return true; }
  bool revoking_disconnects() const override { return true; }

 private:
  const verbs::Api api_;
};

std::vector<BackendFactory> devices() {
  const auto make = []() -> std::unique_ptr<Backend> {
    const auto api = verbs::load();
    if (!api.ok()) return nullptr;
    for (const auto& finding : verbs::survey(*api, {}))
      if (finding.result.ok()) return std::make_unique<DeviceBackend>(*api);
    return nullptr;
  };
  return {{"device", make, "this machine has no RDMA device that can be used"}};
}

std::vector<BackendFactory> adapters() {
  std::vector<BackendFactory> factories;
  const auto add = [&](std::string name, const FabricOptions& options, int devices) {
    factories.push_back({std::move(name), [options, devices] {
                           return std::make_unique<SoftVerbsBackend>(options, devices);
                         }});
  };
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    FabricOptions options;
    options.seed = seed;
    options.reads_out_of_order = seed % 2 == 0;
    options.pages_may_go = seed == 3;
    add("soft" + std::to_string(seed), options, 1);
    if (seed <= 2) add("softRails" + std::to_string(seed), options, 3);
  }
  FabricOptions instant;
  instant.instant = true;
  add("softInstant", instant, 1);
  return factories;
}

INSTANTIATE_TEST_SUITE_P(Verbs, TransportContract, testing::ValuesIn(adapters()), name_of_backend);
INSTANTIATE_TEST_SUITE_P(Verbs, BulkContract, testing::ValuesIn(adapters()), name_of_backend);

INSTANTIATE_TEST_SUITE_P(RealVerbs, TransportContract, testing::ValuesIn(devices()),
                         name_of_backend);
INSTANTIATE_TEST_SUITE_P(RealVerbs, BulkContract, testing::ValuesIn(devices()), name_of_backend);

}  // namespace
}  // namespace shoal::contract
