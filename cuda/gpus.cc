#include "cuda/gpus.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include <cstdlib>
#include <fstream>

#include "cuda/error.h"

namespace shoal {

namespace {

/// "13.0" of 13000.
std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

Error why_none(cudaError_t code) {
  int driver = 0;
  (void)cudaDriverGetVersion(&driver);
  if (driver == 0)
    return {Errc::unavailable,
            "no NVIDIA driver: libcuda.so.1 was not found, or its kernel module is not loaded "
            "(nvidia-smi tells more)"};
  if (code == cudaErrorInsufficientDriver)
    return {Errc::unavailable,
            fmt::format("the NVIDIA driver is for CUDA {}, older than the {} that Shoal was built "
                        "with: update the driver, or build with CUDA {}",
                        version_text(driver), version_text(CUDART_VERSION), version_text(driver))};
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
      code == cudaErrorNoDevice && visible != nullptr)
    return {Errc::unavailable,
            fmt::format("no GPU is left by CUDA_VISIBLE_DEVICES='{}': unset it, or name GPUs that "
                        "nvidia-smi -L lists",
                        visible)};
  return cuda_error("cudaGetDeviceCount", code);
}

/// A function of the driver, which is not linked: a program must start where there is none. Null:
/// this driver does not have it.
template <class Function>
Function* driver_function(const char* name, unsigned version) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
  const auto code =
      cudaGetDriverEntryPointByVersion(name, &found, version, cudaEnableDefault, &result);
  return code == cudaSuccess && result == cudaDriverEntryPointSuccess
             ? reinterpret_cast<Function*>(found)
             : nullptr;
}

bool exports_dma_buf(int ordinal) {
  const auto attribute =
      driver_function<decltype(cuDeviceGetAttribute)>("cuDeviceGetAttribute", 12000);
  int supported = 0;
  return attribute != nullptr &&
         attribute(&supported, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, ordinal) == CUDA_SUCCESS &&
         supported != 0;
}

int numa_node_of(const std::string& pci_address) {
  std::ifstream file("/sys/bus/pci/devices/" + pci_address + "/numa_node");
  int node = -1;
  return file >> node ? node : -1;
}

Result<Gpu> describe(int ordinal) {
  cudaDeviceProp properties{};
  if (const auto code = cudaGetDeviceProperties(&properties, ordinal); code != cudaSuccess)
    return cuda_error("cudaGetDeviceProperties", code);
  Gpu gpu;
  gpu.ordinal = static_cast<std::uint16_t>(ordinal);
  gpu.name = properties.name;
  gpu.compute_major = static_cast<std::uint32_t>(properties.major);
  gpu.compute_minor = static_cast<std::uint32_t>(properties.minor);
  gpu.memory_bytes = properties.totalGlobalMem;
  gpu.multiprocessors = static_cast<std::uint32_t>(properties.multiProcessorCount);
  gpu.pci_address = fmt::format("{:04x}:{:02x}:{:02x}.0", properties.pciDomainID,
                                properties.pciBusID, properties.pciDeviceID);
  gpu.numa_node = numa_node_of(gpu.pci_address);
  gpu.exports_dma_buf = exports_dma_buf(ordinal);
  return gpu;
}

}  // namespace

Result<std::vector<Gpu>> find_gpus() {
  int count = 0;
  if (const auto code = cudaGetDeviceCount(&count); code != cudaSuccess) return why_none(code);
  if (count == 0) return why_none(cudaErrorNoDevice);
  std::vector<Gpu> gpus;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    SHOAL_ASSIGN(auto gpu, describe(ordinal));
    gpus.push_back(std::move(gpu));
  }
  return gpus;
}

}  // namespace shoal
