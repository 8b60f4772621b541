#include "examples/mlp_cuda/train.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "examples/mlp_cuda/model.h"

namespace shoal::mlp {
namespace {

constexpr std::size_t kTallyValues = 2;  // of Math::softmax

class Trainer {
 public:
  Trainer(const Training& training, const Dataset& data, Share share, Math& math,
          Parameters& parameters, Model model, float* tally, const Clock& clock)
      : training_(training),
        data_(data),
        share_(share),
        math_(math),
        parameters_(parameters),
        clock_(clock),
        model_(std::move(model)),
        tally_(tally),
        order_(data.train.count()) {
    std::iota(order_.begin(), order_.end(), 0u);
  }

  Result<Outcome> run(const Watcher& watcher) {
    const bool looks = share_.index == 0;
    for (std::uint32_t epoch = 1; epoch <= training_.epochs; ++epoch) {
      SHOAL_TRY(run_epoch(epoch));
      const bool last = epoch == training_.epochs;
      if (last) SHOAL_TRY(parameters_.finish());
      if (!looks ||
          !(last || (training_.evaluate_every > 0 && epoch % training_.evaluate_every == 0)))
        continue;
      SHOAL_ASSIGN(outcome_.test, evaluate());
      if (watcher) watcher(outcome_);
    }
    return outcome_;
  }

 private:
  std::size_t steps() const {
    return data_.train.count() / (std::size_t{training_.batch} * share_.count);
  }

  Status run_epoch(std::uint32_t epoch) {
    const auto began = clock_.now();
    Random random(mix64(training_.seed) + epoch);
    for (std::size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[random.below(i)]);
    SHOAL_TRY(math_.arrange(Part::train, order_));
    math_.clear(tally_, kTallyValues);
    for (std::size_t step = 0; step < steps(); ++step) SHOAL_TRY(run_step(epoch, step));
    const auto images = steps() * training_.batch;
    SHOAL_ASSIGN(outcome_.train, score_of(images));
    outcome_.epoch = epoch;
    outcome_.images += images;
    outcome_.seconds += std::chrono::duration<double>(clock_.now() - began).count();
    return {};
  }

  /// Of the mean over all images that one update is made of; and gradients fade to nothing over the
  /// training, which for sgd and momentum is a learning rate that does. It needs no server to know.
  float gradient_scale(std::uint32_t epoch, std::size_t step) const {
    const double made = epoch - 1 + static_cast<double>(step) / static_cast<double>(steps());
    const double images = static_cast<double>(training_.batch) * parameters_.summed();
    return static_cast<float>((1 - made / training_.epochs) / images);
  }

  Status run_step(std::uint32_t epoch, std::size_t step) {
    const auto first = (step * share_.count + share_.index) * training_.batch;
    model_.take(Part::train, first, training_.batch);
    SHOAL_TRY(go_forward());
    model_.score(gradient_scale(epoch, step), tally_);
    for (std::size_t layer = model_.layers(); layer-- > 0;) {
      SHOAL_ASSIGN(auto* const gradient, parameters_.place(layer));
      model_.gradient(layer, gradient);
      SHOAL_TRY(parameters_.push(layer));  // under way while the layers before go on
      if (layer == 0) break;
      SHOAL_ASSIGN(const auto* const weights, parameters_.weights(layer));
      model_.back(layer, weights);
    }
    return parameters_.end_step();
  }

  Status go_forward() {
    for (std::size_t layer = 0; layer < model_.layers(); ++layer) {
      SHOAL_ASSIGN(const auto* const weights, parameters_.weights(layer));
      model_.forward(layer, weights);
    }
    return {};
  }

  Result<Score> evaluate() {
    const auto count = data_.test.count();
    math_.clear(tally_, kTallyValues);
    for (std::size_t first = 0; first < count; first += training_.batch) {
      model_.take(Part::test, first, std::min<std::size_t>(training_.batch, count - first));
      SHOAL_TRY(go_forward());
      model_.score(0, tally_);
    }
    return score_of(count);
  }

  /// What the tally has of so many images.
  Result<Score> score_of(std::size_t images) {
    std::array<float, kTallyValues> tally{};
    SHOAL_TRY(math_.read(tally_, tally));
    return Score{static_cast<double>(tally[0]) / static_cast<double>(images),
                 static_cast<double>(tally[1]) / static_cast<double>(images)};
  }

  const Training& training_;
  const Dataset& data_;
  Share share_;
  Math& math_;
  Parameters& parameters_;
  const Clock& clock_;
  Model model_;
  float* tally_;
  std::vector<std::uint32_t> order_;
  Outcome outcome_;
};

}  // namespace

Result<Outcome> train(const Training& training, const Dataset& data, Share share, Math& math,
                      Parameters& parameters, const std::vector<LayerShape>& shapes,
                      const Clock& clock, const Watcher& watcher) {
  const auto step_images = std::size_t{training.batch} * share.count;
  if (data.train.count() < step_images)
    return Error{Errc::invalid_argument,
                 fmt::format("a step takes {} images of each of {} workers, but there are {} in "
                             "all: take a smaller --batch",
                             training.batch, share.count, data.train.count())};
  SHOAL_ASSIGN(auto model, Model::create(math, shapes, training.batch));
  SHOAL_ASSIGN(auto* const tally, math.allocate(kTallyValues));
  SHOAL_TRY(math.load(Part::train, data.train));
  if (share.index == 0) SHOAL_TRY(math.load(Part::test, data.test));
  return Trainer(training, data, share, math, parameters, std::move(model), tally, clock)
      .run(watcher);
}

}  // namespace shoal::mlp
