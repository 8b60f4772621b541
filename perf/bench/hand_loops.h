#pragma once

#include <cstddef>

#include "perf/bench/hand_rules.h"

// The loops of hand_rules.h over a type V of vectors of floats: V::Vec, V::kWidth and functions of
// vectors; load and store convert to and from each of the types of weights.
// Every V lies in an unnamed namespace, and so do the instances.

namespace shoal::perf {

/// Calls body(i) for the vectors that begin at value i, four a turn.
template <class V, class Body>
inline void each_vector(std::size_t count, const Body& body) {
  static_assert(kHandBlock % (4 * V::kWidth) == 0);
  for (std::size_t i = 0; i < count; i += 4 * V::kWidth) {
    body(i);
    body(i + V::kWidth);
    body(i + 2 * V::kWidth);
    body(i + 3 * V::kWidth);
  }
}

template <class V, class T>
struct HandLoops {
  using Vec = typename V::Vec;

  static T* weights(const HandRows& rows) { return static_cast<T*>(rows.weights); }
  static const T* inputs(const HandRows& rows) { return static_cast<const T*>(rows.inputs); }

  static void assign(const HandRows& rows, const float*) {
    each_vector<V>(rows.count,
                   [=](std::size_t i) { V::store(weights(rows) + i, V::load(inputs(rows) + i)); });
  }
  /// w = f(w, x)
  template <class F>
  static void change(const HandRows& rows, const F& f) {
    each_vector<V>(rows.count, [=](std::size_t i) {
      V::store(weights(rows) + i, f(V::load(weights(rows) + i), V::load(inputs(rows) + i)));
    });
  }
  static void add(const HandRows& rows, const float*) {
    change(rows, [](Vec w, Vec x) { return V::add(w, x); });
  }
  static void min(const HandRows& rows, const float*) {
    change(rows, [](Vec w, Vec x) { return V::lesser(w, x); });
  }
  static void max(const HandRows& rows, const float*) {
    change(rows, [](Vec w, Vec x) { return V::greater(w, x); });
  }
  static void sgd(const HandRows& rows, const float* p) {
    const Vec rate = V::set(p[0]);
    change(rows, [=](Vec w, Vec g) { return V::sub(w, V::mul(rate, g)); });
  }
  static void proximal(const HandRows& rows, const float* p) {
    const Vec rate = V::set(p[0]), amount = V::set(p[1]), factor = V::set(p[2]);
    change(rows, [=](Vec w, Vec g) {
      return V::mul(V::soft(V::sub(w, V::mul(rate, g)), amount), factor);
    });
  }
  static void proximal_diagonal(const HandRows& rows, const float* p) {
    const Vec rate = V::set(p[0]), l1 = V::mul(rate, V::set(p[1])), l2 = V::mul(rate, V::set(p[2]));
    each_vector<V>(rows.count, [=](std::size_t i) {
      const T* pairs = inputs(rows) + 2 * i;
      Vec gradient, bound;
      V::part(V::load(pairs), V::load(pairs + V::kWidth), gradient, bound);
      const Vec w = V::load(weights(rows) + i);
      const Vec moved = V::sub(V::mul(bound, w), V::mul(rate, gradient));
      V::store(weights(rows) + i,
               V::if_positive(bound, V::div(V::soft(moved, l1), V::add(bound, l2)), w));
    });
  }
  static void momentum(const HandRows& rows, const float* p) {
    const Vec rate = V::set(p[0]), kept = V::set(p[1]);
    each_vector<V>(rows.count, [=](std::size_t i) {
      const Vec v = V::add(V::mul(kept, V::load(rows.states[0] + i)), V::load(inputs(rows) + i));
      V::store(rows.states[0] + i, v);
      V::store(weights(rows) + i, V::sub(V::load(weights(rows) + i), V::mul(rate, v)));
    });
  }
  static void adagrad(const HandRows& rows, const float* p) {
    const Vec rate = V::set(p[0]), epsilon = V::set(p[1]);
    each_vector<V>(rows.count, [=](std::size_t i) {
      const Vec g = V::load(inputs(rows) + i);
      const Vec sum = V::add(V::load(rows.states[0] + i), V::mul(g, g));
      V::store(rows.states[0] + i, sum);
      const Vec step = V::div(V::mul(rate, g), V::add(V::sqrt(sum), epsilon));
      V::store(weights(rows) + i, V::sub(V::load(weights(rows) + i), step));
    });
  }
  static void adam(const HandRows& rows, const float* p) {
    const Vec beta1 = V::set(p[0]), beta2 = V::set(p[1]), rest1 = V::set(p[2]);
    const Vec rest2 = V::set(p[3]), rate = V::set(p[4]), epsilon = V::set(p[5]);
    each_vector<V>(rows.count, [=](std::size_t i) {
      const Vec g = V::load(inputs(rows) + i);
      const Vec m = V::add(V::mul(beta1, V::load(rows.states[0] + i)), V::mul(rest1, g));
      const Vec v = V::add(V::mul(beta2, V::load(rows.states[1] + i)), V::mul(rest2, V::mul(g, g)));
      V::store(rows.states[0] + i, m);
      V::store(rows.states[1] + i, v);
      const Vec step = V::div(V::mul(rate, m), V::add(V::sqrt(v), epsilon));
      V::store(weights(rows) + i, V::sub(V::load(weights(rows) + i), step));
    });
  }
  static void ftrl(const HandRows& rows, const float* p) {
    const Vec per_alpha = V::set(p[0]), rest = V::set(p[1]), l1 = V::set(p[2]);
    each_vector<V>(rows.count, [=](std::size_t i) {
      const Vec g = V::load(inputs(rows) + i), w = V::load(weights(rows) + i);
      const Vec n = V::load(rows.states[1] + i);
      const Vec grown = V::add(n, V::mul(g, g));
      const Vec after = V::sqrt(grown);
      const Vec sigma_w = V::mul(V::mul(V::sub(after, V::sqrt(n)), per_alpha), w);
      const Vec z = V::add(V::load(rows.states[0] + i), V::sub(g, sigma_w));
      V::store(rows.states[0] + i, z);
      V::store(rows.states[1] + i, grown);
      V::store(weights(rows) + i,
               V::div(V::soft(V::negative(z), l1), V::add(V::mul(after, per_alpha), rest)));
    });
  }

  static constexpr HandRule kRules[] = {{"assign", &assign},
                                        {"add", &add},
                                        {"min", &min},
                                        {"max", &max},
                                        {"sgd", &sgd},
                                        {"momentum", &momentum},
                                        {"adagrad", &adagrad},
                                        {"adam", &adam},
                                        {"ftrl", &ftrl},
                                        {"proximal", &proximal},
                                        {"proximal_diagonal", &proximal_diagonal}};
};
inline constexpr std::size_t kHandRuleCount = 11;

template <class V>
const HandRule* hand_rules_of(HandType type) {
  switch (type) {
    case HandType::f16:
      return HandLoops<V, HandF16>::kRules;
    case HandType::bf16:
      return HandLoops<V, HandBF16>::kRules;
    case HandType::f32:
      break;
  }
  return HandLoops<V, float>::kRules;
}

// The forms' rules; null where the compiler has no such target.
const HandRule* hand_rules_avx2(HandType type);
const HandRule* hand_rules_avx512(HandType type);

}  // namespace shoal::perf
