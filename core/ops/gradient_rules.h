#pragma once

#include <array>
#include <cstdint>

#include "core/ops/math.h"
#include "core/ops/rule_kind.h"

// Gradient descent and its adaptive kin. Parameters are doubles; a loop converts them to the
// table's type once, before its first weight.

namespace shoal {

/// w -= learning_rate * g. Robbins, Monro, "A stochastic approximation method", 1951.
struct Sgd {
  double learning_rate = 0.01;

  static constexpr RuleTraits kTraits{.name = "sgd", .repeats_compose = true};
  static constexpr auto parameters() {
    return std::array{
        parameter<&Sgd::learning_rate>("learning_rate", range::kNonNegative, "step size")};
  }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T gradient) const {
    weight -= static_cast<T>(learning_rate) * gradient;
  }
};

/// Heavy ball (Polyak, "Some methods of speeding up the convergence of iteration methods", 1964) in
/// the form of Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum
/// in deep learning", ICML'13, with the learning rate outside of the velocity, so that it can
/// change:
///   v = momentum * v + g;  w -= learning_rate * v
/// With `nesterov` the gradient looks one step ahead: w -= learning_rate * (g + momentum * v).
/// Decays: in a round without a push the velocity goes on moving the weight.
struct Momentum {
  double learning_rate = 0.01;
  double momentum = 0.9;
  bool nesterov = false;

  static constexpr RuleTraits kTraits{.name = "momentum", .states = 1};
  static constexpr auto parameters() {
    return std::array{
        parameter<&Momentum::learning_rate>("learning_rate", range::kNonNegative, "step size"),
        parameter<&Momentum::momentum>("momentum", range::kBelowOne,
                                       "share of the velocity that is kept"),
        parameter<&Momentum::nesterov>("nesterov", range::kFlag, "1: Nesterov's form")};
  }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T& velocity, T gradient) const {
    velocity = static_cast<T>(momentum) * velocity + gradient;
    const T ahead = gradient + static_cast<T>(momentum) * velocity;
    weight -= static_cast<T>(learning_rate) * (nesterov ? ahead : velocity);
  }

  /// `missed` rounds with g = 0, by the geometric sum.
  struct Coasting {
    double kept;
    double travelled;
    template <class T>
    SHOAL_HOST_DEVICE void operator()(T& weight, T& velocity) const {
      weight -= static_cast<T>(travelled) * velocity;
      velocity *= static_cast<T>(kept);
    }
  };
  SHOAL_HOST_DEVICE Coasting after(std::uint64_t missed) const {
    const double sum = math::power_sum(momentum, missed);
    return {math::power(momentum, missed), learning_rate * (nesterov ? momentum * sum : sum)};
  }
};

/// s += g^2;  w -= learning_rate * g / (sqrt(s) + epsilon). Duchi, Hazan, Singer, "Adaptive
/// subgradient methods for online learning and stochastic optimization", JMLR 12, 2011.
struct Adagrad {
  double learning_rate = 0.01;
  double epsilon = 1e-10;
  double initial_accumulator = 0;

  static constexpr RuleTraits kTraits{.name = "adagrad", .states = 1};
  static constexpr auto parameters() {
    return std::array{
        parameter<&Adagrad::learning_rate>("learning_rate", range::kNonNegative, "step size"),
        parameter<&Adagrad::epsilon>("epsilon", range::kPositive, "keeps the divisor above 0"),
        parameter<&Adagrad::initial_accumulator>("initial_accumulator", range::kNonNegative,
                                                 "s of a new row")};
  }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void reset(T /*weight*/, T& sum) const {
    sum = static_cast<T>(initial_accumulator);
  }
  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T& sum, T gradient) const {
    sum += gradient * gradient;
    weight -=
        static_cast<T>(learning_rate) * gradient / (math::sqrt(sum) + static_cast<T>(epsilon));
  }
};

/// Kingma, Ba, "Adam: a method for stochastic optimization", ICLR'15, Algorithm 1:
///   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   w -= learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
/// t counts the updates of what is updated as one: of a sparse row its own, since m and v average
/// that row's gradients only (a global t would take a row's first averages, far too small, for
/// settled ones: its first steps would be off by (1 - beta1) / sqrt(1 - beta2), 3.2 by default); of
/// dense rows those of their segment. Like tf.LazyAdam and torch.SparseAdam it does not decay: rows
/// that were not pushed keep m, v, t and w.
struct Adam {
  double learning_rate = 0.001;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;

  static constexpr RuleTraits kTraits{.name = "adam", .states = 2};
  static constexpr auto parameters() {
    return std::array{
        parameter<&Adam::learning_rate>("learning_rate", range::kNonNegative, "step size"),
        parameter<&Adam::beta1>("beta1", range::kBelowOne, "decay of the mean gradient"),
        parameter<&Adam::beta2>("beta2", range::kBelowOne, "decay of the mean squared gradient"),
        parameter<&Adam::epsilon>("epsilon", range::kPositive, "keeps the divisor above 0")};
  }
  operator UpdateSpec() const { return update_spec(*this); }

  /// The rule at one t. With c = sqrt(1 - beta2^t) taken out of the root (section 2 of the paper):
  /// w -= (learning_rate c / (1 - beta1^t)) * m / (sqrt(v) + epsilon c).
  struct Step {
    double beta1, beta2;
    double rest1, rest2;  ///< 1 - beta
    double rate, epsilon;

    template <class T>
    SHOAL_HOST_DEVICE void operator()(T& weight, T& mean, T& square, T gradient) const {
      mean = static_cast<T>(beta1) * mean + static_cast<T>(rest1) * gradient;
      square = static_cast<T>(beta2) * square + static_cast<T>(rest2) * (gradient * gradient);
      weight -= static_cast<T>(rate) * mean / (math::sqrt(square) + static_cast<T>(epsilon));
    }
  };
  SHOAL_HOST_DEVICE Step at_step(std::uint32_t t) const {
    const double c = math::sqrt(1 - math::power(beta2, t));
    return {
        beta1,      beta2, 1 - beta1, 1 - beta2, learning_rate * c / (1 - math::power(beta1, t)),
        epsilon * c};
  }
};

}  // namespace shoal
