#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "examples/mlp_cuda/overlap.h"
#include "examples/mlp_cuda/train.h"
#include "worker/worker.h"

namespace shoal::mlp {

/// What is told at the end.
struct Report {
  /// Worker 0's way to the servers.
  struct Communication {
    Worker::Traffic traffic;
    Overlap overlap;
  };
  std::string device;
  std::uint32_t workers = 1;
  Outcome outcome;                                  ///< worker 0's
  std::optional<Communication> communication = {};  ///< none without a parameter server

  /// Of all workers: they go in step, but for the staleness.
  double images_per_second() const;
};

/// One line about an epoch, without its newline.
std::string epoch_line(const Outcome& outcome, std::uint32_t epochs, std::uint32_t workers);

/// A line for each figure, or one JSON object; both end with a newline.
std::string table_of(const Report& report);
std::string json_of(const Report& report);

}  // namespace shoal::mlp
