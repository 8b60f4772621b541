#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/ops/rule_set.h"
#include "examples/mlp_cuda/dataset.h"

namespace shoal::mlp {

/// Rows of floats in the memory of a Math, one behind the other.
struct Matrix {
  float* values = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;
};

/// A factor of a product: a matrix in the memory of a Math, as it lies there or turned.
struct Factor {
  const float* values = nullptr;
  std::size_t rows = 0;  ///< as it lies there
  std::size_t columns = 0;
  bool transposed = false;

  Factor(const Matrix& matrix)
      : values(matrix.values), rows(matrix.rows), columns(matrix.columns) {}
  Factor(const float* first, std::size_t row_count, std::size_t column_count)
      : values(first), rows(row_count), columns(column_count) {}
  /// Columns of the factor: the length of the sums that a product is made of, if it is the first.
  std::size_t depth() const { return transposed ? rows : columns; }
};
inline Factor transposed(Factor factor) {
  factor.transposed = !factor.transposed;
  return factor;
}

/// What has been issued to a Math up to some moment.
using Mark = std::uint64_t;

/// What a network is computed with: the host, or a GPU. All that is issued is done in that order,
/// on the host before the call returns, on a GPU later. A failure there is told by the next call
/// that returns a Status or Result, and from then on by every one.
///
/// Pointers are to the Math's own memory, which lives as long as it does. Owner: one thread.
class Math {
 public:
  virtual ~Math() = default;

  /// "cpu", "cuda:0".
  virtual std::string_view name() const = 0;
  /// Called between pieces of work of some tens of microseconds, where the calling thread does the
  /// work: what else it has to look after would wait for the whole of it.
  virtual void call_between(std::function<void()> between) = 0;

  /// `count` floats, zeros. Errors: no_memory.
  virtual Result<float*> allocate(std::size_t count) = 0;
  /// The Math's side of `host`, which stays until release(): on the host the same memory, else of
  /// equal size. Errors: no_memory, unavailable.
  virtual Result<float*> mirror(std::span<float> host) = 0;
  /// Waits for all that was issued; `host` may be freed then.
  virtual void release(std::span<float> host) = 0;
  /// Brings all of `host` to `mirror`. Nothing that was issued and still has to be done uses
  /// `mirror`. `host` stays as it is until the mark is done.
  virtual Result<Mark> to_mirror(std::span<const float> host, float* mirror) = 0;
  /// Brings `mirror`, as what was issued before leaves it, to all of `host`: by the mark.
  virtual Result<Mark> to_host(const float* mirror, std::span<float> host) = 0;
  virtual Result<bool> done(Mark mark) = 0;
  /// What is issued from now on begins when the mark is done.
  virtual Status follow(Mark mark) = 0;
  /// Waits for all that was issued, and copies.
  virtual Status read(const float* from, std::span<float> to) = 0;

  /// Keeps a copy of the images, which take() then takes from, in order of `order`. Errors:
  /// no_memory.
  virtual Status load(Part part, const Images& images) = 0;
  /// The numbers of a part's images, each at most once; in the beginning 0, 1, 2, ...
  virtual Status arrange(Part part, std::span<const std::uint32_t> order) = 0;
  /// Images from place `first` of the order: a row an image, its values as their mean and factor
  /// say; and their classes (as floats, so that all arrays are of one type).
  virtual void take(Part part, std::size_t first, Matrix pixels, float* classes) = 0;

  /// product = a b.
  virtual void multiply(Factor a, Factor b, Matrix product) = 0;
  /// Adds `bias` to each row; then, with `relu`, what is below 0 becomes 0.
  virtual void add_bias(Matrix matrix, const float* bias, bool relu) = 0;
  /// The way back through relu: gradients become 0 where its output is.
  virtual void mask(Matrix gradients, const float* outputs) = 0;
  virtual void sum_columns(Matrix matrix, float* sums) = 0;
  /// Of each row's scores s and class c, the cross entropy of softmax: adds -log softmax(s)[c] to
  /// tally[0], and 1 to tally[1] if s[c] is the (first) greatest. Scores become the loss's gradient
  /// times `scale`.
  virtual void softmax(Matrix scores, const float* classes, float scale, float* tally) = 0;
  virtual void clear(float* values, std::size_t count) = 0;

  /// For those who run update rules on the Math's memory themselves: Shoal's kernels, and what they
  /// are issued into.
  virtual const RuleSet& rules() const = 0;
  virtual DeviceKind kind() const = 0;
  virtual void* stream() const = 0;
};

/// Errors: invalid_argument (no such name), unavailable (no GPU, no CUDA: why, and what to do).
Result<std::unique_ptr<Math>> create_math(std::string_view device);

/// This process's processor.
std::unique_ptr<Math> create_host_math();
/// The GPU `ordinal`. Products are cuBLAS's, in full f32. Errors: unavailable.
Result<std::unique_ptr<Math>> create_cuda_math(std::uint16_t ordinal);

}  // namespace shoal::mlp
