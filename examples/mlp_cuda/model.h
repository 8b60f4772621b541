#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "core/base/result.h"
#include "examples/mlp_cuda/layer.h"
#include "examples/mlp_cuda/math.h"

namespace shoal::mlp {

/// The way of a batch through the layers and back, layer by layer, so that whoever keeps the
/// parameters can move them meanwhile. Relu between layers, softmax and cross entropy at the end.
/// Owner: the Math's thread.
class Model {
 public:
  /// For batches of up to `batch_max` images. `math` is borrowed. Errors: no_memory.
  static Result<Model> create(Math& math, std::vector<LayerShape> shapes, std::size_t batch_max);

  const std::vector<LayerShape>& shapes() const { return shapes_; }
  std::size_t layers() const { return shapes_.size(); }

  /// Begins with `count` images from place `first` of the part's order.
  void take(Part part, std::size_t first, std::size_t count);
  /// `weights`: LayerShape's values in the Math's memory. Layers from 0 on.
  void forward(std::size_t layer, const float* weights);
  /// Behind the last layer: Math::softmax.
  void score(float scale, float* tally);
  /// The gradient of the layer's weights, for layers from the last on.
  void gradient(std::size_t layer, float* gradient);
  /// The gradient of the outputs of the layer before, which gradient() of that needs; layer > 0.
  void back(std::size_t layer, const float* weights);

 private:
  Model(Math& math, std::vector<LayerShape> shapes) : math_(&math), shapes_(std::move(shapes)) {}
  Matrix of_layer(float* values, std::size_t layer) const {
    return {values, count_, shapes_[layer].outputs};
  }
  /// What goes into a layer.
  Matrix inputs(std::size_t layer) const { return {values_[layer], count_, shapes_[layer].inputs}; }

  Math* math_;
  std::vector<LayerShape> shapes_;
  std::size_t count_ = 0;          ///< images of the batch
  std::vector<float*> values_;     ///< the pixels, then each layer's outputs
  std::vector<float*> gradients_;  ///< of each layer's outputs; of the last in their place
  float* classes_ = nullptr;
};

}  // namespace shoal::mlp
