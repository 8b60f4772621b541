#include "perf/perftest.h"

#include "perf/workload.h"
#include "transport/backends.h"

namespace shoal::perf {

Tool perftest(const std::string& program, std::size_t bytes, std::uint64_t iterations,
              const PerftestPort& port) {
  Tool tool{.program = program, .package = "perftest", .arguments = {}, .environment = {}};
  tool.arguments = {"-s", std::to_string(bytes), "-n", std::to_string(iterations), "-F"};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) tool.arguments.insert(tool.arguments.end(), {option, value});
  };
  add("-d", port.device);
  add("-i", port.number);
  add("-x", port.gid_index);
  return tool;
}

Result<Tool> perftest(const std::string& program, std::size_t bytes, std::uint64_t iterations,
                      const Config& config) {
  SHOAL_ASSIGN(const auto port, first_rdma_port(config));
  return perftest(
      program, bytes, iterations,
      PerftestPort{port.device, std::to_string(port.number), std::to_string(port.gid_index)});
}

// bytes, iterations, and of times: least, most, typical, average, deviation, 99 %, 99.9 %
Result<double> perftest_typical_us(const Tool& tool, const Clock& clock) {
  return tool_figure(tool, 9, 4, clock);
}

// bytes, iterations; MiB/s at the peak and on average; messages/s
Result<double> perftest_bandwidth(const Tool& tool, const Clock& clock) {
  SHOAL_ASSIGN(const auto rate, tool_figure(tool, 5, 3, clock));
  return rate * kBytesPerMiB;
}

}  // namespace shoal::perf
