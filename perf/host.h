#pragma once

#include <string>

namespace shoal::perf {

/// The machine a figure was taken on: "name, 2 x Intel(R) Xeon(R) ..., Linux 6.1.0".
std::string host_description();

/// Processor time that this process has used, all threads, user and system, in seconds.
double cpu_seconds();

}  // namespace shoal::perf
