#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "examples/mlp_cuda/dataset.h"
#include "examples/mlp_cuda/math.h"
#include "examples/mlp_cuda/parameters.h"

namespace shoal::mlp {

/// Which images of each step are this worker's.
struct Share {
  std::uint32_t index = 0;
  std::uint32_t count = 1;
};

/// How to train.
struct Training {
  std::uint32_t epochs = 10;
  std::uint32_t batch = 128;         ///< images a step and worker
  std::uint32_t evaluate_every = 1;  ///< epochs; 0: at the end only
  std::uint64_t seed = 1;
};

/// How a network does on images.
struct Score {
  double loss = 0;      ///< mean cross entropy
  double accuracy = 0;  ///< share of images whose class has the greatest score
};

/// What became of a training, as one worker has seen it.
struct Outcome {
  std::uint32_t epoch = 0;    ///< epochs made so far
  double seconds = 0;         ///< of steps, without looks at the test images
  std::uint64_t images = 0;   ///< that this worker's steps used
  Score train;                ///< of this worker's last epoch, while the weights were changing
  std::optional<Score> test;  ///< worker 0
};

/// Called by worker 0 after epochs, with what it has seen.
using Watcher = std::function<void(const Outcome&)>;

/// Trains one worker's share of `data`. Every worker goes through the same order of images, which
/// depends on seed and epoch; of a step's batch x workers images each takes its part, so that runs
/// with as many images a step see the same ones together. Those that fill no step are left out of
/// their epoch. Worker 0 also looks at the test images. Errors: those of `math` and `parameters`,
/// invalid_argument (fewer images than a step has).
Result<Outcome> train(const Training& training, const Dataset& data, Share share, Math& math,
                      Parameters& parameters, const std::vector<LayerShape>& shapes,
                      const Clock& clock, const Watcher& watcher);

}  // namespace shoal::mlp
