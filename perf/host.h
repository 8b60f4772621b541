#pragma once

#include <sched.h>

#include <cstdint>
#include <string>

namespace shoal::perf {

/// The machine a figure was taken on: "name, 2 x Intel(R) Xeon(R) ..., Linux 6.1.0".
std::string host_description();

/// Processor time that this process has used, all threads, user and system, in seconds.
double cpu_seconds();

/// Which process of a pair this is.
enum class Seat : std::uint8_t { asks, answers };
/// Keeps this thread, and what it starts meanwhile, off the other's core: the last one is for who
/// answers. Two that spin may otherwise be left on one core, where nobody wakes and so nobody moves
/// them. Does nothing where there is one core.
class CoreSeat {
 public:
  explicit CoreSeat(Seat seat);
  ~CoreSeat();
  CoreSeat(const CoreSeat&) = delete;
  CoreSeat& operator=(const CoreSeat&) = delete;

 private:
  cpu_set_t before_;
  bool taken_ = false;
};

/// Processes that want to run, over the last minute, and the cores they have.
struct Load {
  double average = 0;
  unsigned cores = 1;
};
Load system_load();

}  // namespace shoal::perf
