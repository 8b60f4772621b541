#pragma once

#include <functional>
#include <vector>

namespace shoal::verbs {

/// The node of the memory at `address`, of which a page may be touched; -1: not known.
int numa_node_of_memory(const void* address);
/// The node of the CPU that runs this; -1: not known.
int numa_node_of_cpu();

/// How far nodes are from each other, as the kernel counts it (10: the same); read once.
class NumaDistances {
 public:
  /// The kernel's largest: a node that cannot be reached.
  static constexpr unsigned kUnknown = 255;

  /// From /sys/devices/system/node.
  static NumaDistances of_machine();
  explicit NumaDistances(std::vector<std::vector<unsigned>> rows = {}) : rows_(std::move(rows)) {}

  /// kUnknown: of what the kernel does not say, as of nodes -1. What is known goes before it.
  unsigned between(int a, int b) const;

 private:
  std::vector<std::vector<unsigned>> rows_;  ///< by node
};

/// Where what a fabric works with lies: on this machine, unless a test says otherwise.
struct Numa {
  NumaDistances distances = NumaDistances::of_machine();
  /// Of the CPU that runs whoever makes the fabric: for a process that is bound to a node, its own.
  int home_node = numa_node_of_cpu();
  std::function<int(const void*)> node_of_memory = numa_node_of_memory;
};

}  // namespace shoal::verbs
