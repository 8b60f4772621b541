#pragma once

#include <cstdint>

#include "core/base/random.h"
#include "examples/mlp_cuda/dataset.h"

namespace shoal::mlp {

/// `count` noisy copies of ten patterns of `pixels` pixels: to tell them apart can be learnt.
inline Images noisy_patterns(std::size_t count, std::size_t pixels, std::uint64_t seed) {
  Images images{.pixels = pixels, .values = {}, .classes = {}, .mean = 127, .factor = 1.0f / 52};
  Random random(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const auto label = random.below(kClasses);
    images.classes.push_back(static_cast<std::uint8_t>(label));
    for (std::size_t p = 0; p < pixels; ++p) {
      const std::uint64_t pattern = mix64(label * pixels + p) % 128;
      images.values.push_back(static_cast<std::uint8_t>(pattern + random.below(128)));
    }
  }
  return images;
}

inline Dataset pattern_dataset(std::size_t train, std::size_t test, std::size_t pixels) {
  return {noisy_patterns(train, pixels, 1), noisy_patterns(test, pixels, 2)};
}

}  // namespace shoal::mlp
