#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "examples/sparse_lr/evaluation.h"

namespace shoal::sparse_lr {

/// What stands on the command line.
struct Options {
  std::string train;
  std::string test;   ///< empty: nothing is held out
  std::string model;  ///< files to write; empty: not
  std::string csv;
  std::string curve;
  std::string evaluate;  ///< a model to judge instead of training one
  Penalty penalty = {.l1 = 1, .l2 = 0};
  double alpha = 0.5;  ///< FTRL's step size
  double beta = 1;
  std::uint32_t epochs = 0;   ///< never 0 once parsed
  std::uint32_t batch = 256;  ///< examples; 0: block mode
  std::uint32_t staleness = 4;
  std::uint32_t blocks = 64;         ///< block mode only
  bool synchronous = false;          ///< one thing after the other, for comparison
  std::uint32_t evaluate_every = 0;  ///< epochs; never 0 once parsed
  std::string scratch = "/tmp";      ///< directory for what block mode cannot keep in memory
  std::uint64_t memory_mib = 256;    ///< of each file, kept from one pass to the next
  std::vector<std::string> refuges;  ///< directories for a model that finds no room in its own
  std::uint32_t servers = 1;         ///< of the cluster inside the process, if there is no other

  std::size_t memory_bytes() const { return std::size_t{memory_mib} << 20; }
  bool by_blocks() const { return batch == 0; }
};

/// The options, or the exit code if the program ends here: 0 after --help, 2 after a mistake, about
/// which the user has been told.
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace shoal::sparse_lr
