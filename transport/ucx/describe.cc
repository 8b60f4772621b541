#include <fmt/core.h>
#include <fmt/ranges.h>

#include "transport/reasons.h"
#include "transport/ucx/ucx.h"

namespace shoal::ucx {

namespace {

/// One line, if not all devices may be used.
void add_devices(std::vector<std::string>& lines, const Options& options) {
  if (!options.network_devices) return;
  const auto& taken = *options.network_devices;
  const auto left_out = fmt::format("{}", fmt::join(options.left_out, ", "));
  lines.push_back(fmt::format("{}: {} (left out: {})", taken.empty() ? "no" : "yes",
                              taken.empty() ? "no network device is left; shared memory is" : taken,
                              left_out.empty() ? "none" : left_out));
}

}  // namespace

std::vector<std::string> describe(const Config& config) {
  const auto api = load();
  if (!api.ok()) return {"no: " + api.error().what};
  const auto options = options_of(config);
  const auto context = Context::create(*api, options);
  if (!context.ok()) return {"no: " + sentence_of(context.error())};
  std::vector<std::string> lines = {fmt::format("yes: UCX {}, moves host memory (no {})",
                                                version_of(*api),
                                                memory_left_out((*context)->memory_types()))};
  add_devices(lines, options);
  return lines;
}

}  // namespace shoal::ucx
