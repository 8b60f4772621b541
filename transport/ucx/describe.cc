#include <fmt/core.h>
#include <fmt/ranges.h>

#include "transport/reasons.h"
#include "transport/ucx/devices.h"
#include "transport/ucx/ucx.h"

namespace shoal::ucx {

namespace {

/// One line, if the configuration filters devices.
void add_devices(std::vector<std::string>& lines, const Config& config) {
  const auto options = options_of(config);
  if (!options.network_devices) return;
  const auto devices = survey(config);
  const auto text = [](const std::vector<std::string>& names, const char* none) {
    return names.empty() ? none : fmt::format("{}", fmt::join(names, ", "));
  };
  lines.push_back(fmt::format("{}: {} (left out: {})", devices.taken.empty() ? "no" : "yes",
                              text(devices.taken, "no network device is left; shared memory is"),
                              text(devices.left_out, "none")));
}

}  // namespace

std::vector<std::string> describe(const Config& config) {
  const auto api = load();
  if (!api.ok()) return {"no: " + api.error().what};
  const auto context = Context::create(*api, options_of(config));
  if (!context.ok()) return {"no: " + sentence_of(context.error())};
  std::vector<std::string> lines = {fmt::format("yes: UCX {}, moves host memory (no {})",
                                                version_of(*api),
                                                memory_left_out((*context)->memory_types()))};
  add_devices(lines, config);
  return lines;
}

}  // namespace shoal::ucx
