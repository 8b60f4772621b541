#include "examples/mlp_cuda/dataset.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "examples/mlp_cuda/idx.h"

namespace shoal::mlp {
namespace {

/// The file of that name, packed or not.
Result<std::string> find_file(const std::string& directory, const std::string& name) {
  const auto plain = (std::filesystem::path(directory) / name).string();
  std::error_code ignored;
  for (const auto& path : {plain + ".gz", plain})
    if (std::filesystem::exists(path, ignored)) return path;
  return Error{Errc::io,
               fmt::format("there is no {}.gz: install Debian's package dataset-fashion-mnist "
                           "('apt-get install dataset-fashion-mnist' puts it into {}), or name "
                           "the directory that has its files by --data",
                           plain, kFashionMnist)};
}

Result<Images> load_images(const std::string& directory, const std::string& prefix) {
  SHOAL_ASSIGN(const auto images_path, find_file(directory, prefix + "-images-idx3-ubyte"));
  SHOAL_ASSIGN(const auto classes_path, find_file(directory, prefix + "-labels-idx1-ubyte"));
  SHOAL_ASSIGN(auto images, read_idx(images_path, 3));
  SHOAL_ASSIGN(auto classes, read_idx(classes_path, 1));
  if (images.sizes[0] != classes.sizes[0])
    return Error{Errc::mismatch,
                 fmt::format("{} has {} images and {} has {} labels: they belong to different "
                             "data sets",
                             images_path, images.sizes[0], classes_path, classes.sizes[0])};
  if (images.values.empty())
    return Error{Errc::corrupt, images_path + ": expected images, found none"};
  const auto greatest = *std::max_element(classes.values.begin(), classes.values.end());
  if (greatest >= kClasses)
    return Error{Errc::corrupt, fmt::format("{}: expected labels from 0 to {}, found {}",
                                            classes_path, kClasses - 1, greatest)};
  return Images{.pixels = std::size_t{images.sizes[1]} * images.sizes[2],
                .values = std::move(images.values),
                .classes = std::move(classes.values)};
}

void standardise(Dataset& dataset) {
  double sum = 0, squares = 0;
  for (const double value : dataset.train.values) {
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(dataset.train.values.size());
  const double mean = sum / count;
  const double variance = std::max(squares / count - mean * mean, 1.0);  // all are equal: 1
  for (auto* images : {&dataset.train, &dataset.test}) {
    images->mean = static_cast<float>(mean);
    images->factor = static_cast<float>(1 / std::sqrt(variance));
  }
}

}  // namespace

Result<Dataset> load_dataset(const std::string& directory) {
  Dataset dataset;
  SHOAL_ASSIGN(dataset.train, load_images(directory, "train"));
  SHOAL_ASSIGN(dataset.test, load_images(directory, "t10k"));
  if (dataset.train.pixels != dataset.test.pixels)
    return Error{Errc::mismatch,
                 fmt::format("{}: images to learn from have {} pixels, those held out {}",
                             directory, dataset.train.pixels, dataset.test.pixels)};
  standardise(dataset);
  return dataset;
}

}  // namespace shoal::mlp
