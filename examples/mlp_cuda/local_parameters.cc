#include "examples/mlp_cuda/parameters.h"

namespace shoal::mlp {
namespace {

class LocalParameters final : public Parameters {
 public:
  LocalParameters(Math& math, UpdateRule rule) : math_(&math), rule_(std::move(rule)) {}

  Status add_layer(const LayerShape& shape, const Initializer& first_values) {
    const auto width = static_cast<std::uint32_t>(shape.outputs);
    const auto layout = StateLayout::of(rule_, shape.rows(), shape.outputs, false);
    Layer layer;
    SHOAL_ASSIGN(layer.weights, math_->allocate(shape.values()));
    SHOAL_ASSIGN(layer.gradient, math_->allocate(shape.values()));
    SHOAL_ASSIGN(layer.states, math_->allocate((layout.bytes + sizeof(float) - 1) / sizeof(float)));
    layer.shape = layout.shape(width, 0);
    layer.rows = shape.rows();
    layers_.push_back(layer);
    math_->rules()
        .rows(math_->kind())
        .initialize(first_values, DType::f32, Row{0}, shape.rows(), width,
                    reinterpret_cast<std::byte*>(layer.weights), math_->stream());
    rule_.reset(rows(layers_.back()), math_->stream());
    return {};
  }

  Result<const float*> weights(std::size_t layer) override { return layers_[layer].weights; }
  Result<float*> place(std::size_t layer) override { return layers_[layer].gradient; }
  /// Not yet: the way back still needs the weights that the way forth had.
  Status push(std::size_t /*layer*/) override { return {}; }
  Status end_step() override {
    for (auto& layer : layers_) {
      ++layer.steps;
      rule_.apply(rows(layer), reinterpret_cast<const std::byte*>(layer.gradient), math_->stream());
    }
    return {};
  }
  Status finish() override { return {}; }
  std::uint32_t summed() const override { return 1; }

 private:
  struct Layer {
    float* weights = nullptr;
    float* gradient = nullptr;
    float* states = nullptr;
    std::uint32_t steps = 0;  ///< that the rule has made: on the host, as in a server
    RowShape shape;
    std::size_t rows = 0;
  };
  DenseRows rows(Layer& layer) const {
    return {.arrays = {reinterpret_cast<std::byte*>(layer.weights),
                       reinterpret_cast<std::byte*>(layer.states),
                       rule_.counts_steps() ? &layer.steps : nullptr},
            .shape = layer.shape,
            .first = 0,
            .count = layer.rows};
  }

  Math* math_;
  UpdateRule rule_;
  std::vector<Layer> layers_;
};

}  // namespace

Result<std::unique_ptr<Parameters>> keep_locally(Math& math, const ParameterSpec& spec) {
  SHOAL_ASSIGN(auto rule, math.rules().make(spec.update, DType::f32, math.kind()));
  auto parameters = std::make_unique<LocalParameters>(math, std::move(rule));
  for (std::size_t i = 0; i < spec.shapes.size(); ++i)
    SHOAL_TRY(parameters->add_layer(spec.shapes[i], initializer_of(spec.shapes[i], spec.seed, i)));
  return std::unique_ptr<Parameters>(std::move(parameters));
}

}  // namespace shoal::mlp
