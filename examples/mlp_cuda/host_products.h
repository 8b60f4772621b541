#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace shoal::mlp {

/// A matrix whose value (i, j) is values[i * row_step + j * column_step].
struct Strided {
  const float* values = nullptr;
  std::size_t row_step = 0;
  std::size_t column_step = 0;
};

/// Products of matrices on this thread, in the widest vectors that the processor has: blocks of
/// both factors are packed, as in Goto, van de Geijn, "Anatomy of high-performance matrix
/// multiplication", ACM TOMS 34, 2008, so that every form of a factor is read in whole lines.
class HostProducts {
 public:
  HostProducts();

  /// product = a b; a has `rows` rows and `depth` columns, b `depth` and `columns`. The product's
  /// rows are one behind the other. Calls `between`, if it is there, about every two million
  /// multiplications.
  void multiply(const Strided& a, const Strided& b, float* product, std::size_t rows,
                std::size_t depth, std::size_t columns, const std::function<void()>& between);

 private:
  std::vector<float> packed_a_, packed_b_;
};

}  // namespace shoal::mlp
