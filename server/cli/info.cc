#include <fmt/core.h>

#include <algorithm>
#include <thread>

#include "core/base/version.h"
#include "core/memory/memory_monitor.h"
#include "core/ops/simd.h"
#ifdef SHOAL_HAS_CUDA
#include "cuda/gpus.h"
#endif
#include "server/cli/commands.h"
#include "transport/backends.h"

namespace shoal::cli {

namespace {

void print_config(const Config& config) {
  const auto options = config.show();
  std::size_t names = 0, values = 0, origins = 0;
  const auto shown = [](const std::string& value) { return value.empty() ? "\"\"" : value; };
  for (const auto& option : options) {
    names = std::max(names, option.name.size());
    values = std::max(values, shown(option.value).size());
    origins = std::max(origins, option.origin.size());
  }
  for (const auto& option : options)
    fmt::print("{:{}}  {:{}}  {:{}}  {} ({}{})\n", option.name, names, shown(option.value), values,
               option.origin, origins, option.meaning, option.takes,
               option.range.empty() ? "" : ", " + option.range);
}

/// Whether workers register memory, and keep it so: over UCX and TCP they do not.
bool uses_rdma(const std::vector<Backend>& backends) {
  return std::any_of(backends.begin(), backends.end(), [](const auto& backend) {
    return backend.name == "verbs" &&
           std::any_of(backend.lines.begin(), backend.lines.end(),
                       [](const auto& line) { return line.starts_with("yes: "); });
  });
}

/// A line for each GPU, or one that says why there is none.
std::vector<std::string> gpu_lines() {
#ifdef SHOAL_HAS_CUDA
  const auto gpus = find_gpus();
  if (!gpus.ok()) return {"no: " + gpus.error().what};
  std::vector<std::string> lines;
  for (const auto& gpu : *gpus)
    lines.push_back(fmt::format(
        "{} {}, compute capability {}, {:.1f} GiB, {} multiprocessors, PCI {}{}, {}", gpu.ordinal,
        gpu.name, gpu.compute_capability(), static_cast<double>(gpu.memory_bytes) / 0x1p30,
        gpu.multiprocessors, gpu.pci_address,
        gpu.numa_node < 0 ? "" : fmt::format(", NUMA node {}", gpu.numa_node),
        gpu.exports_dma_buf ? "exports dma-bufs" : "no dma-bufs"));
  return lines;
#else
  return {"no: this build has no CUDA (no toolkit was found when it was made)"};
#endif
}

}  // namespace

int fail(std::string_view command, const Error& error) {
  fmt::print(stderr, "shoal{}{}: {}\n", command.empty() ? "" : " ", command, error.message());
  return 1;
}

/// What update rules run with.
std::string_view instruction_set() {
  switch (host::widest_simd()) {
    case host::Simd::avx512:
      return "AVX-512";
    case host::Simd::avx2:
      return "AVX2";
    case host::Simd::baseline:
      break;
  }
  return "no AVX2: update rules use the base instruction set";
}

int show_info(const Config& config, const RuleSet& rules, bool show_config) {
  if (show_config) {
    print_config(config);
    return 0;
  }
  fmt::print("shoal {}\n\ntransports\n", version());
  const auto backends = describe_backends(config);
  for (const auto& backend : backends)
    for (const auto& line : backend.lines)
      fmt::print("  {:5}  {}\n", &line == &backend.lines.front() ? backend.name : "", line);
  fmt::print("devices\n");
  fmt::print("  host   {} hardware threads, {}\n", std::thread::hardware_concurrency(),
             instruction_set());
  if (uses_rdma(backends)) {
    const auto monitor = MemoryMonitor::create();
    fmt::print("         {}\n",
               monitor.ok()
                   ? "memory that is lent twice stays registered with RDMA"
                   : "memory is registered with RDMA at each use: " + monitor.error().message());
  }
  for (const auto gpus = gpu_lines(); const auto& line : gpus)
    fmt::print("  {:5}  {}\n", &line == &gpus.front() ? "cuda" : "", line);
  fmt::print("update rules\n ");
  for (const auto name : rules.names()) fmt::print(" {}", name);
  fmt::print("\n");
  return 0;
}

}  // namespace shoal::cli
