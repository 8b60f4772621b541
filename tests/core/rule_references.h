#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

// Every formula is written down here once more, from its paper and in the paper's form, and shares
// no code with core/ops.

namespace shoal::test {

/// An update rule as its paper writes it, in double precision, for one weight. `t` counts from 1.
struct Reference {
  std::string rule;
  std::vector<std::pair<std::string, double>> parameters;
  std::function<void(double& w, std::vector<double>& state, const std::vector<double>& input,
                     std::uint32_t t)>
      update;
  /// States of a new weight.
  std::function<std::vector<double>(double w)> initial;
  bool integers = false;
  bool second_input_positive = false;
};

namespace paper {

using State = std::vector<double>;
using Input = std::vector<double>;

inline double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

inline double shrink(double x, double by) { return sign(x) * std::max(0.0, std::fabs(x) - by); }

inline std::function<State(double)> zeros(std::size_t n) {
  return [n](double) { return State(n, 0.0); };
}

inline Reference momentum(bool nesterov) {
  const double rate = 0.05;
  const double mu = 0.8;
  return {"momentum",
          {{"learning_rate", rate}, {"momentum", mu}, {"nesterov", nesterov ? 1.0 : 0.0}},
          [=](double& w, State& v, const Input& g, std::uint32_t) {
            v[0] = mu * v[0] + g[0];
            w -= nesterov ? rate * (g[0] + mu * v[0]) : rate * v[0];
          },
          zeros(1)};
}

inline Reference adagrad() {
  const double rate = 0.3;
  const double epsilon = 1e-3;
  return {"adagrad",
          {{"learning_rate", rate}, {"epsilon", epsilon}, {"initial_accumulator", 0.5}},
          [=](double& w, State& s, const Input& g, std::uint32_t) {
            s[0] += std::pow(g[0], 2);
            w -= rate * g[0] / (std::sqrt(s[0]) + epsilon);
          },
          [](double) { return State{0.5}; }};
}

inline Reference adam() {
  const double rate = 0.02;
  const double b1 = 0.8;
  const double b2 = 0.95;
  const double epsilon = 1e-3;
  return {"adam",
          {{"learning_rate", rate}, {"beta1", b1}, {"beta2", b2}, {"epsilon", epsilon}},
          [=](double& w, State& s, const Input& g, std::uint32_t t) {
            s[0] = b1 * s[0] + (1 - b1) * g[0];
            s[1] = b2 * s[1] + (1 - b2) * g[0] * g[0];
            const double mean = s[0] / (1 - std::pow(b1, t));
            const double square = s[1] / (1 - std::pow(b2, t));
            w -= rate * mean / (std::sqrt(square) + epsilon);
          },
          zeros(2)};
}

inline Reference ftrl() {
  const double alpha = 0.5;
  const double beta = 0.7;
  const double l1 = 0.4;
  const double l2 = 0.3;
  return {"ftrl",
          {{"alpha", alpha}, {"beta", beta}, {"l1", l1}, {"l2", l2}},
          [=](double& w, State& s, const Input& g, std::uint32_t) {
            double& z = s[0];
            double& n = s[1];
            const double sigma = (std::sqrt(n + g[0] * g[0]) - std::sqrt(n)) / alpha;
            z += g[0] - sigma * w;
            n += g[0] * g[0];
            w = std::fabs(z) <= l1 ? 0 : -(z - sign(z) * l1) / ((beta + std::sqrt(n)) / alpha + l2);
          },
          [=](double w) {
            return State{w == 0 ? 0 : -w * (beta / alpha + l2) - sign(w) * l1, 0};
          }};
}

inline Reference proximal_diagonal() {
  const double step = 0.4;
  const double l1 = 0.3;
  const double l2 = 0.2;
  Reference reference{"proximal_diagonal",
                      {{"step", step}, {"l1", l1}, {"l2", l2}},
                      [=](double& w, State&, const Input& in, std::uint32_t) {
                        const double u = in[1];
                        if (u <= 0) return;
                        w = shrink(w - step / u * in[0], step * l1 / u) / (1 + step * l2 / u);
                      },
                      zeros(0)};
  reference.second_input_positive = true;
  return reference;
}

}  // namespace paper

/// The rules of RuleSet::builtin(), each with parameters that make every term count.
inline std::vector<Reference> references() {
  using namespace paper;
  std::vector<Reference> all;
  const auto simple = [&](const char* name, auto update) {
    all.push_back({name, {}, update, zeros(0), true});
  };
  simple("assign", [](double& w, State&, const Input& x, std::uint32_t) { w = x[0]; });
  simple("add", [](double& w, State&, const Input& x, std::uint32_t) { w += x[0]; });
  simple("min", [](double& w, State&, const Input& x, std::uint32_t) { w = std::fmin(w, x[0]); });
  simple("max", [](double& w, State&, const Input& x, std::uint32_t) { w = std::fmax(w, x[0]); });
  all.push_back({"sgd",
                 {{"learning_rate", 0.125}},
                 [](double& w, State&, const Input& g, std::uint32_t) { w -= 0.125 * g[0]; },
                 zeros(0)});
  all.push_back(momentum(false));
  all.push_back(momentum(true));
  all.push_back(adagrad());
  all.push_back(adam());
  all.push_back(ftrl());
  all.push_back({"proximal",
                 {{"learning_rate", 0.2}, {"l1", 0.3}, {"l2", 0.25}},
                 [](double& w, State&, const Input& g, std::uint32_t) {
                   w = shrink(w - 0.2 * g[0], 0.2 * 0.3) / (1 + 0.2 * 0.25);
                 },
                 zeros(0)});
  all.push_back(proximal_diagonal());
  return all;
}

}  // namespace shoal::test
