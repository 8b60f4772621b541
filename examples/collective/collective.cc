// Data-parallel training of a small dense network. Each layer is a collective table: push_pull
// sends a worker's gradient and comes back with the new weights as soon as every worker's has
// arrived, layer by layer, without waiting for the rest. With `deterministic`, sums are taken in
// order of rank, so that a run repeats bit for bit.
//   shoal run --servers 2 --workers 4 -- ./collective --steps 200

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "core/base/random.h"
#include "worker/worker.h"

namespace {

constexpr std::size_t kInputs = 32;
constexpr std::size_t kHidden = 256;
constexpr std::size_t kBatch = 64;

/// The function that the network learns: a fixed nonlinear one, so that every worker can draw
/// examples without a file.
float teacher(std::span<const float> x) {
  float sum = 0;
  for (std::size_t i = 0; i + 1 < x.size(); ++i) sum += std::sin(x[i]) * x[i + 1];
  return sum / std::sqrt(static_cast<float>(x.size()));
}

/// y = v . tanh(W x): one hidden layer, mean squared error.
struct Network {
  std::vector<float> w = std::vector<float>(kHidden * kInputs);
  std::vector<float> v = std::vector<float>(kHidden);

  explicit Network(std::uint64_t seed) {
    shoal::Random random(seed);
    for (auto& weight : w)
      weight = static_cast<float>(random.uniform() - 0.5) / std::sqrt(kInputs / 4.f);
    for (auto& weight : v)
      weight = static_cast<float>(random.uniform() - 0.5) / std::sqrt(kHidden / 4.f);
  }
  /// Hidden activations and the error of each example; returns the mean loss.
  double forward(std::span<const float> x, std::span<const float> y, std::vector<float>& hidden,
                 std::vector<float>& error) const {
    double loss = 0;
    for (std::size_t b = 0; b < kBatch; ++b) {
      float out = 0;
      for (std::size_t h = 0; h < kHidden; ++h) {
        float sum = 0;
        for (std::size_t i = 0; i < kInputs; ++i) sum += w[h * kInputs + i] * x[b * kInputs + i];
        hidden[b * kHidden + h] = std::tanh(sum);
        out += v[h] * hidden[b * kHidden + h];
      }
      error[b] = out - y[b];
      loss += 0.5 * static_cast<double>(error[b] * error[b]);
    }
    return loss / kBatch;
  }
  void gradient_v(std::span<const float> hidden, std::span<const float> error,
                  std::span<float> gradient) const {
    for (std::size_t h = 0; h < kHidden; ++h) {
      gradient[h] = 0;
      for (std::size_t b = 0; b < kBatch; ++b)
        gradient[h] += error[b] * hidden[b * kHidden + h] / kBatch;
    }
  }
  void gradient_w(std::span<const float> x, std::span<const float> hidden,
                  std::span<const float> error, std::span<float> gradient) const {
    for (std::size_t h = 0; h < kHidden; ++h)
      for (std::size_t i = 0; i < kInputs; ++i) {
        float sum = 0;
        for (std::size_t b = 0; b < kBatch; ++b) {
          const auto activation = hidden[b * kHidden + h];
          sum += error[b] * v[h] * (1 - activation * activation) * x[b * kInputs + i];
        }
        gradient[h * kInputs + i] = sum / kBatch;
      }
  }
};

int fail(const shoal::Error& error) {
  std::fprintf(stderr, "collective: %s\n", error.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  int steps = 200;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--steps") == 0 && i + 1 < argc &&
        (steps = std::atoi(argv[i + 1])) > 0) {
      ++i;
      continue;
    }
    std::fprintf(stderr, "usage: collective [--steps N]   (N > 0; default 200)\n");
    return 2;
  }
  const auto config = shoal::Config::from_env();
  if (!config.ok()) return fail(config.error());
  auto connected = shoal::Worker::connect(*config);
  if (!connected.ok()) return fail(connected.error());
  auto& worker = *connected;

  // The tables hold the weights; a round's gradients are summed in order of rank and applied once.
  const double rate = 0.1 / worker.worker_count();
  const auto spec = [rate](const char* name, std::size_t rows) {
    shoal::TableSpec made{.name = name, .rows = rows, .update = shoal::Sgd{.learning_rate = rate}};
    made.apply = shoal::Apply::collective;
    made.deterministic = true;
    return made;
  };
  auto v_table = worker.create_or_open<float>(spec("v", kHidden));
  if (!v_table.ok()) return fail(v_table.error());
  auto w_table = worker.create_or_open<float>(spec("w", kHidden * kInputs));
  if (!w_table.ok()) return fail(w_table.error());

  Network network(7);  // the same first weights everywhere
  if (worker.rank().value == 0) {
    if (const auto set = v_table->store({0, kHidden}, network.v).wait(); !set.ok())
      return fail(set.error());
    if (const auto set = w_table->store({0, network.w.size()}, network.w).wait(); !set.ok())
      return fail(set.error());
  }
  if (const auto all = worker.barrier(); !all.ok()) return fail(all.error());

  auto gradient_v = worker.allocate<float>(network.v.size()).value();
  auto gradient_w = worker.allocate<float>(network.w.size()).value();
  shoal::Random random(1000 + worker.rank().value);
  std::vector<float> x(kBatch * kInputs), y(kBatch), hidden(kBatch * kHidden), error(kBatch);
  for (int step = 0; step < steps; ++step) {
    for (auto& value : x) value = static_cast<float>(random.uniform() * 4 - 2);
    for (std::size_t b = 0; b < kBatch; ++b)
      y[b] = teacher(std::span(x).subspan(b * kInputs, kInputs));
    const auto loss = network.forward(x, y, hidden, error);

    network.gradient_v(hidden, error, gradient_v.span());
    network.gradient_w(x, hidden, error, gradient_w.span());
    auto v_done = v_table->push_pull({0, gradient_v.size()}, gradient_v, network.v);
    auto w_done = w_table->push_pull({0, gradient_w.size()}, gradient_w, network.w);
    if (const auto done = v_done.wait(); !done.ok()) return fail(done.error());
    if (const auto done = w_done.wait(); !done.ok()) return fail(done.error());
    worker.tick();

    if (worker.rank().value == 0 && (step % 20 == 0 || step + 1 == steps))
      std::printf("step %4d  loss %.5f\n", step, loss);
  }
  if (const auto left = worker.leave(); !left.ok()) return fail(left.error());
  return 0;
}
