#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "core/base/token_file.h"
#include "core/memory/device.h"
#include "core/ops/rule_set.h"
#include "server/host.h"
#include "server/server.h"
#include "worker/worker.h"

namespace shoal::perf {

/// A small operation of the eager path: its rows travel inside its messages.
struct EagerCase {
  const char* name;  ///< "pull/8B"
  bool push;
  bool sparse;  ///< the same random keys again; else consecutive rows
  std::size_t rows;
  const char* transports = "tcp";  ///< as Config::transports
};
std::span<const EagerCase> eager_cases();

/// A worker and a server in this one thread, over the loopback interface or UCX: they take turns,
/// so that what an operation costs both of them together can be counted, and comes out alike each
/// time. The scheduler has a thread of its own, and no timer of the cluster is due for hours.
class EagerPath {
 public:
  /// Errors: io, no_memory, and the worker's.
  static Result<std::unique_ptr<EagerPath>> create(const EagerCase& wanted);
  ~EagerPath();
  /// That many operations, one after the other. Errors: the operation's.
  Status run(std::uint64_t operations);
  /// A turn of the server's loop and one of the worker's.
  void turn();

 private:
  EagerPath() = default;
  Status start_server();
  Status open();

  SteadyClock clock_;
  HostDevice device_;
  RuleSet rules_ = RuleSet::builtin();
  Config config_;
  TokenFile token_file_;
  std::unique_ptr<SchedulerHost> scheduler_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Server> server_;
  std::optional<Worker> worker_;
  const EagerCase* case_ = nullptr;
  Table<float> table_;
  Buffer<float> values_;
  std::vector<Key> keys_;
};

}  // namespace shoal::perf
