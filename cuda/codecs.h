#pragma once

#include "cuda/codec_entries.h"

namespace shoal::cuda {

/// Kernels of the codecs for values of f32, f16 and bf16 in GPU memory; null for other types.
CodecKernels int8_kernels(DType dtype);
CodecKernels onebit_kernels(DType dtype);
/// Casts of f32 to f16 or bf16, and back.
CodecKernels narrow_kernels(DType narrow);

}  // namespace shoal::cuda
