#pragma once

#include <cstdint>
#include <string>

#include "core/base/config.h"
#include "perf/raw_tool.h"

namespace shoal::perf {

/// A port, as the options -d, -i and -x of perftest's tools name it; empty: as the tool chooses.
struct PerftestPort {
  std::string device, number, gid_index;
};

/// A tool of perftest (ib_write_bw, ib_read_bw, ib_send_lat, ib_read_lat) over a port.
Tool perftest(const std::string& program, std::size_t bytes, std::uint64_t iterations,
              const PerftestPort& port);
/// The same over the first RDMA port that `config` leaves. Errors: unavailable (there is none:
/// why).
Result<Tool> perftest(const std::string& program, std::size_t bytes, std::uint64_t iterations,
                      const Config& config);
/// The typical (median) time of a tool of latency, in microseconds: of a READ from post to
/// completion, of a message from here to there. Errors: as run_tool().
Result<double> perftest_typical_us(const Tool& tool, const Clock& clock);
/// Average bytes a second. Errors: as run_tool().
Result<double> perftest_bandwidth(const Tool& tool, const Clock& clock);

}  // namespace shoal::perf
