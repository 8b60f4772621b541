#pragma once

#include <vector>

namespace shoal::verbs {

/// The node of the memory at `address`, of which a page may be touched; -1: not known.
int numa_node_of_memory(const void* address);
/// The node of the CPU that runs this; -1: not known.
int numa_node_of_cpu();

/// How far nodes are from each other, as the kernel counts it (10: the same); read once.
class NumaDistances {
 public:
  /// From /sys/devices/system/node.
  static NumaDistances of_machine();
  explicit NumaDistances(std::vector<std::vector<unsigned>> rows = {}) : rows_(std::move(rows)) {}

  /// 0: not known, as of nodes -1.
  unsigned between(int a, int b) const;

 private:
  std::vector<std::vector<unsigned>> rows_;  ///< by node
};

}  // namespace shoal::verbs
