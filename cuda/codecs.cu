#include "cuda/codecs.h"
#include "cuda/launch.cuh"

namespace shoal::cuda {

CodecKernels int8_kernels(DType dtype) { return codec_kernels<Launcher, codec::Int8>(dtype); }
CodecKernels onebit_kernels(DType dtype) { return codec_kernels<Launcher, codec::OneBit>(dtype); }
CodecKernels narrow_kernels(DType narrow) { return narrow_kernels<Launcher>(narrow); }

}  // namespace shoal::cuda
