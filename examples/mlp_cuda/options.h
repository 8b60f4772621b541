#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/table/table_spec.h"
#include "examples/mlp_cuda/dataset.h"
#include "examples/mlp_cuda/train.h"

namespace shoal::mlp {

/// What stands on the command line.
struct Options {
  std::string data = kFashionMnist;
  std::uint32_t images = 0;  ///< to learn from; 0: all
  std::string device = "cpu";
  bool local = false;         ///< without a parameter server
  std::uint32_t servers = 1;  ///< of the cluster inside the process, if there is no other
  std::uint32_t workers = 1;
  std::vector<std::uint32_t> hidden = {256, 128};  ///< outputs of each layer but the last
  Training training;
  std::string update = "momentum";
  double learning_rate = 0;  ///< never 0 once parsed
  double momentum = 0.9;
  std::uint32_t staleness = 1;
  bool json = false;

  UpdateSpec rule() const;
};

/// The options, or the exit code if the program ends here: 0 after --help, 2 after a mistake, about
/// which the user has been told.
std::variant<Options, int> parse_options(int argc, char** argv);

}  // namespace shoal::mlp
