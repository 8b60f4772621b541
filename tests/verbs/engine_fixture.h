#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "server/attached_device.h"
#include "server/scheduler/scheduler.h"
#include "server/server.h"
#include "tests/verbs/path_fixture.h"
#include "worker/engine/engine.h"

// A scheduler, a server and workers' engines in one thread, over paths: TCP to the scheduler,
// software adapters between the others. They take turns, and time passes only as the test says.

namespace shoal::paths::test {

class EnginePathTest : public PathTest {
 protected:
  explicit EnginePathTest(const FabricOptions& options = {}) : PathTest(options) {}
  void TearDown() override;

  /// All have joined and `table` is open.
  void start(std::uint32_t workers, const TableSpec& table);
  /// A dense table of floats, unbounded, whose pushes are added.
  static TableSpec dense(std::uint64_t rows, std::uint32_t segment_bytes = 0);

  Engine& engine(std::size_t worker) { return *workers_.at(worker).engine; }
  SoftDevice& device_of(std::size_t worker) { return *workers_.at(worker).process->device; }
  SoftDevice& server_device() { return *server_process_->device; }
  Process& process_of(std::size_t worker) { return *workers_.at(worker).process; }
  Process& server_process() { return *server_process_; }
  std::string path_to_server(std::size_t worker);

  OperationId submit(std::size_t worker, Engine::Ask ask, Duration timeout);
  /// Rows from `first` on, as many as the memory has.
  Engine::Ask ask_for(std::uint64_t first, std::span<float> to) const;
  OperationId pull(std::size_t worker, std::uint64_t first, std::span<float> to,
                   Duration timeout = std::chrono::minutes(10));
  OperationId push(std::size_t worker, std::uint64_t first, std::span<float> from,
                   bool store = false);
  bool done(std::size_t worker, OperationId id) { return engine(worker).done(id); }
  struct End {
    Errc code = Errc::ok;
    std::string detail;
  };
  /// Waits for it and drops its ticket.
  End end(std::size_t worker, OperationId id);

  /// A turn of each, and up to `steps_` of the network. False: nothing happened.
  bool turn();
  /// Turns until `done`. False: nothing has happened for a long time.
  bool until(const std::function<bool()>& done);

  // To be set before start().
  Engine::Options engine_options_;
  ServerLimits limits_;
  bool attaches_ = true;          ///< the server its tables' memory, as programs do
  std::size_t more_devices_ = 0;  ///< of the server and of each worker, beside the first

  int steps_ = 100;
  Duration turn_time_ = std::chrono::microseconds(10);
  std::unique_ptr<Server> server_;

 private:
  struct Member {
    Process* process = nullptr;
    std::unique_ptr<Engine> engine;
  };

  SteadyClock patience_;
  HostDevice host_;
  std::unique_ptr<AttachedDevice> attached_;
  RuleSet rules_ = RuleSet::builtin();
  MemoryViewStore store_;
  std::unique_ptr<Scheduler> scheduler_;
  Process* server_process_ = nullptr;
  std::vector<Member> workers_;
  const TableShape* table_ = nullptr;
};

}  // namespace shoal::paths::test
