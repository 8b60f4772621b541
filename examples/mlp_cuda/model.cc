#include "examples/mlp_cuda/model.h"

namespace shoal::mlp {

Result<Model> Model::create(Math& math, std::vector<LayerShape> shapes, std::size_t batch_max) {
  Model model(math, std::move(shapes));
  SHOAL_ASSIGN(model.classes_, math.allocate(batch_max));
  SHOAL_ASSIGN(auto* pixels, math.allocate(batch_max * model.shapes_.front().inputs));
  model.values_.push_back(pixels);
  for (const auto& shape : model.shapes_) {
    SHOAL_ASSIGN(auto* outputs, math.allocate(batch_max * shape.outputs));
    model.values_.push_back(outputs);
    const bool last = &shape == &model.shapes_.back();
    SHOAL_ASSIGN(auto* gradients, last ? outputs : math.allocate(batch_max * shape.outputs));
    model.gradients_.push_back(gradients);
  }
  return model;
}

void Model::take(Part part, std::size_t first, std::size_t count) {
  count_ = count;
  math_->take(part, first, inputs(0), classes_);
}

void Model::forward(std::size_t layer, const float* weights) {
  const auto& shape = shapes_[layer];
  const auto outputs = of_layer(values_[layer + 1], layer);
  math_->multiply(inputs(layer), Factor(weights, shape.inputs, shape.outputs), outputs);
  math_->add_bias(outputs, weights + shape.inputs * shape.outputs, layer + 1 < layers());
}

void Model::score(float scale, float* tally) {
  math_->softmax(of_layer(values_.back(), layers() - 1), classes_, scale, tally);
}

void Model::gradient(std::size_t layer, float* gradient) {
  const auto& shape = shapes_[layer];
  const auto of_outputs = of_layer(gradients_[layer], layer);
  math_->multiply(transposed(inputs(layer)), of_outputs, {gradient, shape.inputs, shape.outputs});
  math_->sum_columns(of_outputs, gradient + shape.inputs * shape.outputs);
}

void Model::back(std::size_t layer, const float* weights) {
  const auto& shape = shapes_[layer];
  const auto of_inputs = of_layer(gradients_[layer - 1], layer - 1);
  math_->multiply(of_layer(gradients_[layer], layer),
                  transposed(Factor(weights, shape.inputs, shape.outputs)), of_inputs);
  math_->mask(of_inputs, values_[layer]);
}

}  // namespace shoal::mlp
