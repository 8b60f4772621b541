#pragma once

#include <driver_types.h>

#include <string_view>

#include "core/base/error.h"

namespace shoal {

/// What `call` returned, as an Error: no_memory where the device has none left, unavailable where
/// there is no device or none that can, else io. Its name and text are CUDA's.
Error cuda_error(std::string_view call, cudaError_t code);

}  // namespace shoal
