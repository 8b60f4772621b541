#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.h"

namespace shoal::mlp {

/// The two parts of a data set.
enum class Part : std::uint8_t { train, test };
inline constexpr std::size_t kPartCount = 2;

inline constexpr std::size_t kClasses = 10;

/// Images of one size with a class each.
struct Images {
  std::size_t pixels = 0;            ///< of an image
  std::vector<std::uint8_t> values;  ///< image after image, 0 to 255
  std::vector<std::uint8_t> classes;
  // What a network is given of a value: (value - mean) * factor.
  float mean = 0;
  float factor = 1.0f / 255;

  std::size_t count() const { return classes.size(); }
};

/// Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747), or what has its format and file names:
/// 60 000 images to learn from and 10 000 held out, of 28 x 28 pixels, in 10 classes.
struct Dataset {
  Images train, test;
};

inline constexpr const char* kFashionMnist = "/usr/share/datasets/fashion-mnist";

/// Reads the four files of `directory`, as gzip or plain. Mean and factor of both parts are such
/// that values to learn from have mean 0 and variance 1. Errors: io (what to install), corrupt and
/// mismatch (which file, what was expected).
Result<Dataset> load_dataset(const std::string& directory);

}  // namespace shoal::mlp
