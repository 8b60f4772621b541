#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/base/result.h"
#include "perf/report.h"
#include "perf/window.h"
#include "perf/workload.h"
#include "transport/transport.h"

namespace shoal::perf {

/// What `shoal perf` measures.
struct Plan {
  std::vector<Op> ops = {Op::pull};
  std::vector<std::size_t> sizes;  ///< empty: 8 B to 64 MiB in steps of 8, as far as an op goes
  bool all_sizes = false;          ///< instead: every power of two
  std::uint32_t inflight = 0;      ///< of the bandwidth's runs; 0: default_inflight()
  Limits limits;                   ///< of each run; there are two for a size
  Wait wait = Wait::spin;
  bool both_ways = false;
  bool check = false;
  bool told = true;  ///< TransportPattern's
};

/// Errors: invalid_argument, out_of_range, naming what does not fit.
Status validate(const Plan& plan);

/// Measures against the Peer at `peer`; `show` gets each line as it is done. `config`: token,
/// timeouts, progress. Errors: whatever went wrong first; corrupt, if the plan checks.
Result<std::vector<Line>> measure(const Plan& plan, const Config& config, const Address& peer,
                                  const Clock& clock, const std::function<void(const Line&)>& show);

/// The same against a Peer in a process of its own on this machine, with a token of its own. To be
/// called while this process has no threads.
Result<std::vector<Line>> measure_locally(const Plan& plan, Config config, const Clock& clock,
                                          const std::function<void(const Line&)>& show);

}  // namespace shoal::perf
