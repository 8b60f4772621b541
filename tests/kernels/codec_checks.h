#pragma once

#include "cuda/codec_entries.h"
#include "tests/kernels/target.h"

namespace shoal::test {

// Against a reference in double, by blocks: odd sizes, tails, arrays beside packs, NaN and
// infinity; nothing around the arrays is touched.

void check_int8(Target& target, cuda::CodecKernels kernels, DType dtype);
void check_onebit(Target& target, cuda::CodecKernels kernels, DType dtype);
/// Casts of f32 to a narrower type, and back: bit for bit as on the host.
void check_narrow(Target& target, cuda::CodecKernels kernels, DType narrow);
/// Over many gradients nothing is lost: what was decoded adds up to what was encoded, but for the
/// errors of the last.
void check_error_feedback(Target& target, cuda::CodecKernels kernels,
                          std::size_t (*encoded_bytes)(std::size_t values));

}  // namespace shoal::test
