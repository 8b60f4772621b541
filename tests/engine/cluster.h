#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/ops/rules.h"
#include "server/scheduler/scheduler.h"
#include "server/server.h"
#include "tests/support/late_device.h"
#include "transport/sim/driver.h"
#include "transport/sim/sim.h"
#include "worker/engine/engine.h"

// A scheduler, servers (one, if not told) and workers' engines on the simulated network, without
// random work or faults: a test issues each call and lets time pass.

namespace shoal::test {

class EngineTest : public testing::Test {
 protected:
  using Done = std::function<bool()>;

  EngineTest() : network_(SimOptions{}), driver_(network_) {}
  ~EngineTest() override;

  /// Servers keep their rows on a device like a GPU, whose work is done late: if a test asks for it
  /// before start(), or the environment of the program (ON_LATE_DEVICE).
  bool late_ = std::getenv("ON_LATE_DEVICE") != nullptr;
  test::LateDevice& device(std::size_t i) { return *servers_.at(i)->device; }
  const Server& server(std::size_t i) { return *servers_.at(i)->server; }

  /// All have joined and `tables` are open, as tables_[0], ...
  void start(std::uint32_t workers, const std::vector<TableSpec>& tables = {});
  static TableSpec dense(const std::string& name, Apply apply, std::int64_t staleness = 0);

  Engine& engine(std::size_t i) { return *workers_.at(i)->engine; }
  SimNodeId node(std::size_t i) { return workers_.at(i)->node; }
  NodeId id(std::size_t i) { return engine(i).joined()->node; }

  OperationId submit(std::size_t worker, Engine::Ask ask, Duration timeout);
  /// Rows 0 to `rows` of a table of floats, into or from memory of the fixture's.
  OperationId pull(std::size_t worker, std::size_t table, Duration timeout, std::int64_t ahead = 0);
  OperationId push(std::size_t worker, std::size_t table, RowRange rows = {0, kRows},
                   std::span<const OperationId> after = {});
  OperationId store(std::size_t worker, std::size_t table, Duration timeout);
  OperationId barrier(std::size_t worker, Duration timeout);
  OperationId flush(std::size_t worker, Duration timeout);
  /// Without a flush before it.
  OperationId leave(std::size_t worker, Duration timeout);
  OperationId drop_table(std::size_t worker, std::size_t table, Duration timeout);
  void tick(std::size_t worker);
  void cancel(std::size_t worker, OperationId id);
  /// The process is killed: its ports refuse from now on.
  void kill_server(std::size_t i);

  bool until(const Done& done, Duration limit = std::chrono::seconds(30)) {
    return driver_.run_while_not(done, network_.now() + limit);
  }
  void run(Duration time) { driver_.run_until(network_.now() + time); }
  /// Lets the operation come to its end.
  const Operation& wait(std::size_t worker, OperationId id);
  bool done(std::size_t worker, OperationId id) { return engine(worker).done(id); }

  struct Machine {
    SimNodeId node;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Engine> engine;
  };
  struct ServerMachine {
    SimNodeId node;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<test::LateDevice> device;
    std::unique_ptr<Server> server;
    std::unique_ptr<Pollable> late;
  };
  static constexpr std::uint64_t kRows = 64;

  // To be set before start().
  Membership::Options options_;
  ServerLimits limits_;
  Engine::Options engine_options_;
  std::function<void()> on_close_;  ///< after each connection that a worker closes
  bool pins_ = false;               ///< what workers' transports say of what they register

  std::uint64_t registrations_ = 0;  ///< by workers

  SimNetwork network_;
  SimDriver driver_;
  MemoryViewStore store_;
  HostDevice device_;
  RuleSet rules_ = test::late_rules();
  test::PinnedHost pinned_;
  SimNodeId scheduler_node_, server_node_;  ///< of the first server
  std::unique_ptr<Transport> scheduler_transport_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<std::unique_ptr<ServerMachine>> servers_;
  std::vector<std::unique_ptr<Machine>> workers_;
  std::vector<const TableShape*> tables_;
  std::vector<std::unique_ptr<std::vector<float>>> memory_;  ///< lent; kept to the end
};

}  // namespace shoal::test
