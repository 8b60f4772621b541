#pragma once

#include <functional>
#include <optional>

#include "tests/support/temp_dir.h"
#include "tests/transport/tcp_fixture.h"
#include "tests/transport/tcp_raw_peer.h"
#include "tests/verbs/soft_adapter.h"
#include "transport/paths/paths.h"
#include "transport/verbs/link.h"
#include "transport/verbs/verbs.h"

// Processes of a test, each with sockets on 127.0.0.1 and a software adapter.

namespace shoal::paths::test {

using namespace shoal::verbs;
using verbs::test::Counts;
using verbs::test::DeviceOptions;
using verbs::test::FabricOptions;
using verbs::test::Fate;
using verbs::test::PortOptions;
using verbs::test::SoftDevice;
using verbs::test::SoftFabric;

using contract::all;
using contract::Peer;
using Kind = Event::Kind;
using Bytes = std::vector<std::byte>;

/// Time that passes only as the test says.
class HandClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  void pass(Duration time) { now_ += time; }

 private:
  TimePoint now_{std::chrono::hours(1)};
};

struct ProcessOptions {
  SoftFabric* network = nullptr;  ///< null: that of the fixture
  bool has_device = true;
  DeviceOptions device = {};
  std::size_t more_devices = 0;  ///< like it
  Filters filters = {};
  std::optional<Api> api = {};  ///< instead of the adapter's own table
  /// Instead of the fabric as it is.
  std::function<std::unique_ptr<Fabric>(std::unique_ptr<Fabric>)> wrap = {};
  bool fabric_required = false;
  /// A second fabric, behind the first: a link to the same device under another name.
  std::function<std::unique_ptr<Fabric>(std::unique_ptr<Fabric>)> spare = {};
  DmaBufExporter* exporter = nullptr;
  std::string left_out = {};  ///< as PathOptions'
  Numa numa = {};
  std::vector<int> numa_nodes = {};  ///< of the devices; fewer: of the others it is not known
  bool control = false;              ///< only coordinates: TCP alone
};

struct Process {
  SoftDevice* device = nullptr;
  std::vector<SoftDevice*> devices;  ///< with the first
  Peer peer;
  Address address;
  tcp::Fd watched;

  Transport& transport() { return peer.transport(); }
  /// How an operation ended; nothing: it has not.
  std::optional<Errc> ended(Kind kind, std::uint64_t context) const {
    const auto* found = peer.find(kind, context);
    return found != nullptr ? std::optional(found->status) : std::nullopt;
  }
};

class PathTest : public testing::Test {
 protected:
  explicit PathTest(const FabricOptions& options = {}) : network(options) {}
  void TearDown() override {
    processes.clear();
    for (const auto* one : {&network, &elsewhere}) {
      for (const auto& what : one->misuse()) ADD_FAILURE() << what;
      EXPECT_EQ(one->objects(), 0u) << "something was made and not destroyed";
    }
  }

  Process& make(ProcessOptions options = {});
  /// One poll of every process, and a little time for the network. False: nothing happened.
  bool turn();
  /// Turns until `done`. False: nothing has happened for a long time.
  bool until(const std::function<bool()>& done);
  /// Turns until nothing has happened for `turns` of them.
  void settle(int turns = 50);
  TimePoint soon() const { return clock.now() + std::chrono::hours(1); }
  /// Both sides' endpoints, once both know.
  std::pair<EndpointId, EndpointId> connect(Process& from, Process& to);
  bool is_up(const Process& process, EndpointId endpoint) const;
  Status send(Process& from, EndpointId to, std::uint64_t number, std::size_t payload_bytes = 0,
              Lane lane = Lane::message);
  /// The numbers of the messages that came, in order.
  std::vector<std::uint64_t> numbers(const Process& process, EndpointId endpoint) const;
  /// A message each way on each lane, which are the last.
  bool ping(Process& a, EndpointId at_a, Process& b, EndpointId at_b);
  /// How `a` explains a connection to `b` that was made, used and closed again.
  std::string path_of(Process& a, Process& b);

  HandClock clock;
  SoftFabric network;
  SoftFabric elsewhere;                         ///< a network that nobody on `network` reaches
  std::vector<std::unique_ptr<TempDir>> sysfs;  ///< of devices whose node is known
  SoftFabric* extra = nullptr;                  ///< a test's own
  std::vector<std::unique_ptr<Process>> processes;

 private:
  SteadyClock steady_;
  int hosts_ = 0;
  std::uint64_t pings_ = 1'000'000'000;
};

inline bool mentions(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

}  // namespace shoal::paths::test
