#include "transport/verbs/numa.h"

#include <fmt/core.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

namespace shoal::verbs {

int numa_node_of_memory(const void* address) {
  int node = -1;
  const long error = ::syscall(SYS_get_mempolicy, &node, nullptr, 0ul, address,
                               static_cast<unsigned long>(MPOL_F_NODE | MPOL_F_ADDR));
  return error == 0 ? node : -1;
}

int numa_node_of_cpu() {
  unsigned cpu = 0, node = 0;
  return ::syscall(SYS_getcpu, &cpu, &node, nullptr) == 0 ? static_cast<int>(node) : -1;
}

NumaDistances NumaDistances::of_machine() {
  std::vector<std::vector<unsigned>> rows;
  for (;;) {
    std::ifstream file(fmt::format("/sys/devices/system/node/node{}/distance", rows.size()));
    if (!file) return NumaDistances(std::move(rows));
    rows.emplace_back(std::istream_iterator<unsigned>(file), std::istream_iterator<unsigned>());
  }
}

unsigned NumaDistances::between(int a, int b) const {
  if (a < 0 || b < 0) return kUnknown;
  const auto row = static_cast<std::size_t>(a), column = static_cast<std::size_t>(b);
  return row < rows_.size() && column < rows_[row].size() ? rows_[row][column] : kUnknown;
}

}  // namespace shoal::verbs
