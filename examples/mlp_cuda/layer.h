#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/table/table_spec.h"

namespace shoal::mlp {

/// A layer's parameters: a matrix with a row for each input and one more, the bias, of a value for
/// each output. So they lie in a table, too.
struct LayerShape {
  std::size_t inputs = 0;
  std::size_t outputs = 0;

  std::size_t rows() const { return inputs + 1; }
  std::size_t values() const { return rows() * outputs; }
};

/// From `pixels` over layers of `hidden` outputs to `classes`.
inline std::vector<LayerShape> layer_shapes(std::size_t pixels,
                                            std::span<const std::uint32_t> hidden,
                                            std::size_t classes) {
  std::vector<LayerShape> shapes;
  for (const auto outputs : hidden) {
    shapes.push_back({pixels, outputs});
    pixels = outputs;
  }
  shapes.push_back({pixels, classes});
  return shapes;
}

/// First values of a layer, uniform in +-1/sqrt(inputs): sums of as many inputs then neither grow
/// nor vanish from layer to layer (LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998).
inline Initializer initializer_of(const LayerShape& shape, std::uint64_t seed, std::size_t layer) {
  const double bound = 1 / std::sqrt(static_cast<double>(shape.inputs));
  return {.kind = Initializer::Kind::uniform, .a = -bound, .b = bound, .seed = seed * 1000 + layer};
}

}  // namespace shoal::mlp
