#include "perf/host.h"

#include <fmt/core.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <cstdlib>
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

CoreSeat::CoreSeat(Seat seat) {
  if (::sched_getaffinity(0, sizeof before_, &before_) != 0 || CPU_COUNT(&before_) < 2) return;
  int last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &before_)) --last;
  auto wanted = before_;
  if (seat == Seat::asks) {
    CPU_CLR(last, &wanted);
  } else {
    CPU_ZERO(&wanted);
    CPU_SET(last, &wanted);
  }
  taken_ = ::sched_setaffinity(0, sizeof wanted, &wanted) == 0;
}

CoreSeat::~CoreSeat() {
  if (taken_) ::sched_setaffinity(0, sizeof before_, &before_);
}

Load system_load() {
  Load load;
  load.cores = std::thread::hardware_concurrency();
  ::getloadavg(&load.average, 1);
  return load;
}

}  // namespace shoal::perf
