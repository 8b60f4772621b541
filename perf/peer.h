#pragma once

#include <memory>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "transport/transport.h"

namespace shoal::perf {

/// The process that is measured against: `shoal perf --listen`. Serves one client at a time, again
/// and again: answers its messages, lends memory to its READs and WRITEs, and runs a scheduler and
/// a server for its pushes and pulls.
class Peer {
 public:
  /// Listens at `config.listen`. `clock` outlives it. Errors: io, invalid_argument.
  static Result<std::unique_ptr<Peer>> create(const Config& config, const Clock& clock);
  ~Peer();
  const Address& address() const;
  /// Until the process ends, or `once`: until the first client has gone.
  void run(bool once);

 private:
  class Parts;
  explicit Peer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace shoal::perf
