#include "cuda/copy_entries.h"
#include "cuda/copy_rows.h"
#include "cuda/launch.cuh"

namespace shoal::cuda {

void gather_rows(const ListedRows& rows, DType dtype, std::byte* out, void* stream) {
  CopyEntries<Launcher>::gather(rows, dtype, out, stream);
}

void scatter_rows(const ListedRows& rows, DType dtype, const std::byte* in, void* stream) {
  CopyEntries<Launcher>::scatter(rows, dtype, in, stream);
}

}  // namespace shoal::cuda
