#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "core/ops/rule_set.h"
#include "transport/transport.h"

namespace shoal {

/// A scheduler on a thread of its own, over the transport that the configuration names: what `shoal
/// scheduler` and LocalCluster run. Destroying it stops it.
class SchedulerHost {
 public:
  /// Listens at `config.listen`; takes up the cluster in `config.state_dir`, if there is one, and
  /// has stored its first view there.
  /// Errors: io (says which option to change), invalid_argument, corrupt, exists.
  static Result<std::unique_ptr<SchedulerHost>> start(const Config& config);
  ~SchedulerHost();
  /// Where it listens, with the real port.
  const Address& address() const;
  /// What the cluster waited for at the start, for people; empty: it was taken up, complete.
  const std::string& waited_for() const;

 private:
  struct Parts;
  explicit SchedulerHost(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

/// A server on a thread of its own, with its heartbeat on another.
class ServerHost {
 public:
  /// Listens at `config.listen` and joins the cluster of `config.scheduler`; returns before it has
  /// joined. Tables are where `config.device` says. Errors: io, invalid_argument, no_memory;
  /// unavailable (no such device: why).
  static Result<std::unique_ptr<ServerHost>> start(const Config& config, const RuleSet& rules);
  ~ServerHost();
  const Address& address() const;
  /// Leaves the cluster in order: the scheduler is told, and waited for, but not longer than
  /// `patience`, nor where nobody listens at its address. Any thread.
  void leave(Duration patience);
  /// Set when the scheduler refused the server for good, or could not be reached in join_timeout.
  /// Any thread.
  std::optional<Error> failure() const;

 private:
  struct Parts;
  explicit ServerHost(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace shoal
