#pragma once

#include <cublas_v2.h>

#include <string>

#include "core/base/result.h"

namespace shoal::mlp {

/// cuBLAS, as this program uses it: the library's own functions, found at run time, so that the
/// program starts where it is not installed. See docs/decisions/0007.
struct Cublas {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSgemm_v2) sgemm = nullptr;
  decltype(&cublasGetStatusString) status_string = nullptr;
};

/// The file that load_cublas() looks for: of the version that this program was compiled with.
std::string cublas_library();

/// It stays loaded until the process ends. Errors: unavailable (not installed, or another version:
/// what was looked for, and what to do).
Result<Cublas> load_cublas(const std::string& library = cublas_library());

}  // namespace shoal::mlp
