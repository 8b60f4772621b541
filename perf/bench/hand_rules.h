#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// The update rules as one writes them by hand for this machine and this one layout: rows of one
// value, no states but the rule's. What the kernels of core/ops are measured against; they give the
// same bits. The vector forms are compiled for their instruction sets file by file, so these
// headers hold nothing that another file could share.

namespace shoal::perf {

/// The type of weights and inputs. All arithmetic is of floats.
enum class HandType : std::uint8_t { f32, f16, bf16 };
enum class HandF16 : std::uint16_t {};
enum class HandBF16 : std::uint16_t {};

/// What a rule takes. `count` is a multiple of kHandBlock.
struct HandRows {
  void* weights;
  float* states[2];    ///< as many as the rule has
  const void* inputs;  ///< of proximal_diagonal two for each weight, in turn
  std::size_t count;
};
inline constexpr std::size_t kHandBlock = 64;

/// A rule and its factors `p`:
///   sgd {rate}, momentum {rate, momentum}, adagrad {rate, epsilon},
///   adam {beta1, beta2, 1 - beta1, 1 - beta2, rate of this step, epsilon of this step},
///   ftrl {1 / alpha, beta / alpha + l2, l1}, proximal {rate, rate l1, 1 / (1 + rate l2)},
///   proximal_diagonal {step, l1, l2}
struct HandRule {
  const char* name;
  void (*run)(const HandRows& rows, const float* p);
};

enum class HandForm : std::uint8_t { portable, avx2, avx512 };

/// Whether this CPU runs a form, and it was built.
bool can_run(HandForm form);
/// The widest form that this CPU runs.
HandForm best_hand_form();
/// A rule by its name in core/ops; null: there is none.
const HandRule* hand_rule(std::string_view name, HandType type, HandForm form);

}  // namespace shoal::perf
