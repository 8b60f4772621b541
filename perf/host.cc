#include "perf/host.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <fstream>
#include <thread>

namespace shoal::perf {

std::string host_description() {
  std::string model = "unknown processor";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) {
      const auto begin = line.find_first_not_of(' ', line.find(':') + 1);
      if (begin != line.npos) model = line.substr(begin);
      break;
    }
  utsname name{};
  ::uname(&name);
  return fmt::format("{}, {} x {}, {} {}", name.nodename, std::thread::hardware_concurrency(),
                     model, name.sysname, name.release);
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace shoal::perf
