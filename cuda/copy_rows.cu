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

void scatter_add(const ListedRows& rows, DType dtype, const std::byte* in, void* stream) {
  CopyEntries<Launcher>::add(rows, dtype, in, stream);
}

void write_initial_rows(const Initializer& initializer, DType dtype, Row first, std::size_t count,
                        std::uint32_t width, std::byte* rows, void* stream) {
  CopyEntries<Launcher>::initialize(initializer, dtype, first, count, width, rows, stream);
}

}  // namespace shoal::cuda
