#include "cuda/error.h"

#include <cuda_runtime_api.h>
#include <fmt/core.h>

namespace shoal {

namespace {

Errc errc_of(cudaError_t code) {
  switch (code) {
    case cudaErrorMemoryAllocation:
      return Errc::no_memory;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidDevice:
    case cudaErrorInvalidResourceHandle:
      return Errc::invalid_argument;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorNotSupported:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorSystemNotReady:
    case cudaErrorDevicesUnavailable:
      return Errc::unavailable;
    default:
      return Errc::io;
  }
}

}  // namespace

Error cuda_error(std::string_view call, cudaError_t code) {
  return {errc_of(code),
          fmt::format("{}: {} ({})", call, cudaGetErrorString(code), cudaGetErrorName(code))};
}

}  // namespace shoal
