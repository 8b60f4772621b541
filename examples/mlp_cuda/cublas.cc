#include "examples/mlp_cuda/cublas.h"

#include <dlfcn.h>
#include <fmt/core.h>

namespace shoal::mlp {
namespace {

Error no_cublas(const std::string& why) {
  return {Errc::unavailable,
          fmt::format("{}: --device cuda:N needs cuBLAS {} (NVIDIA's package libcublas-{}-*, or "
                      "LD_LIBRARY_PATH with its directory, as /usr/local/cuda/lib64); --device "
                      "cpu does not",
                      why, CUBLAS_VER_MAJOR, CUBLAS_VER_MAJOR)};
}

}  // namespace

std::string cublas_library() { return fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR); }

Result<Cublas> load_cublas(const std::string& library) {
  void* handle = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return no_cublas(::dlerror());
  std::string missing;
  const auto find = [&]<class Function>(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(::dlsym(handle, name));
    if (function == nullptr && missing.empty()) missing = name;
  };
  Cublas cublas;
  find(cublas.create, "cublasCreate_v2");
  find(cublas.destroy, "cublasDestroy_v2");
  find(cublas.set_stream, "cublasSetStream_v2");
  find(cublas.sgemm, "cublasSgemm_v2");
  find(cublas.status_string, "cublasGetStatusString");
  if (!missing.empty()) return no_cublas(fmt::format("{} has no {}", library, missing));
  return cublas;
}

}  // namespace shoal::mlp
