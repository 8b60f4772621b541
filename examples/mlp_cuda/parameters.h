#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/base/clock.h"
#include "core/base/result.h"
#include "core/table/table_spec.h"
#include "examples/mlp_cuda/layer.h"
#include "examples/mlp_cuda/math.h"
#include "examples/mlp_cuda/overlap.h"
#include "worker/worker.h"

namespace shoal::mlp {

/// Who keeps the layers' parameters and changes them by gradients. Pointers are to a Math's memory.
///
/// A step asks for each layer's weights before it is computed, and on the way back for the place
/// where its gradient goes; then it pushes it. Owner: the Math's thread.
class Parameters {
 public:
  virtual ~Parameters() = default;

  /// The layer's weights for this step; the same until end_step(). Waits for them. Errors: those of
  /// pulls.
  virtual Result<const float*> weights(std::size_t layer) = 0;
  /// Where to put the layer's gradient. Errors: those of pushes.
  virtual Result<float*> place(std::size_t layer) = 0;
  /// The gradient has been issued to the Math.
  virtual Status push(std::size_t layer) = 0;
  /// All layers were pushed.
  virtual Status end_step() = 0;
  /// After the last step: weights() are then the final ones, with all that was pushed.
  virtual Status finish() = 0;
  /// Of how many workers gradients are summed to one update.
  virtual std::uint32_t summed() const = 0;
};

/// What all parameters of a network are.
struct ParameterSpec {
  std::vector<LayerShape> shapes;
  UpdateSpec update;
  std::uint64_t seed = 0;
  std::int64_t staleness = 0;  ///< steps
};

/// Kept in the Math's own memory, with no parameter server: what the others are measured by. The
/// rules are Shoal's, and so are first values. Errors: no_memory, those of RuleSet::make.
Result<std::unique_ptr<Parameters>> keep_locally(Math& math, const ParameterSpec& spec);

/// Kept in Shoal, a dense table for each layer. See README.md for when what is sent. All workers
/// open them together. `math`, `worker`, `clock` and `overlap` are borrowed. Errors: those of
/// create_or_open, allocate and Math::mirror; timed_out.
Result<std::unique_ptr<Parameters>> keep_in_shoal(Math& math, const ParameterSpec& spec,
                                                  Worker& worker, const Clock& clock,
                                                  Overlap& overlap);

}  // namespace shoal::mlp
