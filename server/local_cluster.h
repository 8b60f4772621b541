#pragma once

#include <cstdint>
#include <memory>

#include "core/base/config.h"
#include "core/base/result.h"
#include "core/ops/rule_set.h"

namespace shoal {

/// A scheduler and servers inside this process, listening on loopback, with a token of their own: a
/// program runs on one machine with no other process. Destroying it ends the cluster; destroy
/// workers first.
///
///     auto cluster = shoal::LocalCluster::start({.servers = 2, .workers = 1}).value();
///     auto worker = shoal::Worker::connect(cluster.config()).value();
class LocalCluster {
 public:
  struct Options {
    std::uint32_t servers = 1;
    std::uint32_t workers = 1;  ///< that the first roster waits for
    RuleSet rules = RuleSet::builtin();
    Config config;  ///< timeouts, budgets, ...; addresses are ours
  };
  /// Errors: io, no_memory.
  static Result<LocalCluster> start(Options options);
  LocalCluster(LocalCluster&&) noexcept;
  LocalCluster& operator=(LocalCluster&&) noexcept;
  ~LocalCluster();

  /// For Worker::connect, in this process or in others that may read the token file.
  const Config& config() const;

 private:
  struct Parts;
  explicit LocalCluster(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace shoal
