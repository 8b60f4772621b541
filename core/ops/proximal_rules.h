#pragma once

#include <array>
#include <cstdint>

#include "core/ops/math.h"
#include "core/ops/rule_kind.h"

// Rules that keep weights exactly at 0: for l1 |w| + l2/2 w^2 beside the loss.

namespace shoal {

/// FTRL-proximal, per coordinate: McMahan et al., "Ad click prediction: a view from the trenches",
/// KDD'13, Algorithm 1:
///   sigma = (sqrt(n + g^2) - sqrt(n)) / alpha;  z += g - sigma w;  n += g^2
///   w = 0 if |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)
/// A weight that is not 0 at its first update (an initializer, a stored model) is kept: its z
/// starts at the value whose w it is.
struct Ftrl {
  double alpha = 0.1;
  double beta = 1;
  double l1 = 0;
  double l2 = 0;

  static constexpr RuleTraits kTraits{.name = "ftrl", .states = 2};
  static constexpr auto parameters() {
    return std::array{
        parameter<&Ftrl::alpha>("alpha", range::kPositive, "step size"),
        parameter<&Ftrl::beta>("beta", range::kPositive, "damps the first steps; about 1"),
        parameter<&Ftrl::l1>("l1", range::kNonNegative, "weight of |w|"),
        parameter<&Ftrl::l2>("l2", range::kNonNegative, "weight of w^2 / 2")};
  }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void reset(T weight, T& z, T& n) const {
    n = T(0);
    const T pull = weight * static_cast<T>(beta / alpha + l2);
    z = weight == T(0) ? T(0) : -(pull + std::copysign(static_cast<T>(l1), weight));
  }
  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T& z, T& n, T gradient) const {
    const T per_alpha = static_cast<T>(1 / alpha);
    const T before = math::sqrt(n);
    n += gradient * gradient;
    const T after = math::sqrt(n);
    z += gradient - (after - before) * per_alpha * weight;
    const T divisor = after * per_alpha + static_cast<T>(beta / alpha + l2);
    weight = math::soft_threshold(-z, static_cast<T>(l1)) / divisor;
  }
};

/// Proximal gradient (ISTA): w = S(w - rate g, rate l1) / (1 + rate l2), S the soft threshold.
/// Parikh, Boyd, "Proximal algorithms", 2014, sections 4.2 and 6.5. Decays: the threshold shrinks a
/// weight in rounds without a push too.
struct Proximal {
  double learning_rate = 0.01;
  double l1 = 0;
  double l2 = 0;

  static constexpr RuleTraits kTraits{.name = "proximal"};
  static constexpr auto parameters() {
    return std::array{
        parameter<&Proximal::learning_rate>("learning_rate", range::kNonNegative, "step size"),
        parameter<&Proximal::l1>("l1", range::kNonNegative, "weight of |w|"),
        parameter<&Proximal::l2>("l2", range::kNonNegative, "weight of w^2 / 2")};
  }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T gradient) const {
    const T moved = weight - static_cast<T>(learning_rate) * gradient;
    weight = math::soft_threshold(moved, static_cast<T>(learning_rate * l1)) *
             static_cast<T>(1 / (1 + learning_rate * l2));
  }

  /// `missed` rounds with g = 0: each takes rate l1 off and multiplies by c = 1 / (1 + rate l2), so
  /// |w| becomes c^k |w| - rate l1 (c + ... + c^k), or 0.
  struct Shrinking {
    double factor;
    double amount;
    template <class T>
    SHOAL_HOST_DEVICE void operator()(T& weight) const {
      weight = math::soft_threshold(weight * static_cast<T>(factor), static_cast<T>(amount));
    }
  };
  SHOAL_HOST_DEVICE Shrinking after(std::uint64_t missed) const {
    const double c = 1 / (1 + learning_rate * l2);
    return {math::power(c, missed), learning_rate * l1 * math::power_sum(c, missed)};
  }
};

/// The server's half of delayed block proximal gradient: Li, Andersen, Smola, Yu, "Communication
/// efficient distributed machine learning with the parameter server", NIPS'14, Algorithm 3. Workers
/// push two values per weight, both of which add up over workers: the gradient g, and u, an upper
/// bound of the loss's second derivative along that coordinate (the diagonal of their matrix U):
///   t = step / u;  w = S(w - t g, t l1) / (1 + t l2)
/// With `step` <= 1 / (1 + staleness) the objective falls. u <= 0 says that no example has the
/// coordinate: the weight stays. Rows without a push stay as well: a round moves its block only.
struct ProximalDiagonal {
  double step = 1;
  double l1 = 0;
  double l2 = 0;

  static constexpr RuleTraits kTraits{.name = "proximal_diagonal", .inputs = 2};
  static constexpr auto parameters() {
    return std::array{
        parameter<&ProximalDiagonal::step>("step", range::kNonNegative,
                                           "step size; 1 / (1 + staleness) is safe"),
        parameter<&ProximalDiagonal::l1>("l1", range::kNonNegative, "weight of |w|"),
        parameter<&ProximalDiagonal::l2>("l2", range::kNonNegative, "weight of w^2 / 2")};
  }
  operator UpdateSpec() const { return update_spec(*this); }

  template <class T>
  SHOAL_HOST_DEVICE void operator()(T& weight, T gradient, T bound) const {
    // Both sides of the fraction times u: one division. w u must be finite.
    const T rate = static_cast<T>(step);
    const T moved =
        math::soft_threshold(bound * weight - rate * gradient, rate * static_cast<T>(l1)) /
        (bound + rate * static_cast<T>(l2));
    weight = bound <= T(0) ? weight : moved;
  }
};

}  // namespace shoal
