#include "cuda/launch.cuh"
#include "cuda/row_entries.h"
#include "cuda/row_kernels.h"

namespace shoal::cuda {

const RowKernels& row_kernels() {
  static constexpr auto kKernels = row_kernels<Launcher>();
  return kKernels;
}

void scatter_add(const ListedRows& rows, DType dtype, const std::byte* in, void* stream) {
  RowEntries<Launcher>::scatter_add(rows, dtype, in, stream);
}

}  // namespace shoal::cuda
