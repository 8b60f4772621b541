#include "transport/verbs/survey.h"
#include "transport/verbs/verbs.h"

namespace shoal::verbs {

namespace {

/// Becomes "yes" with the transport that uses these ports.
constexpr const char* kUsable = "no transport over it yet";

}  // namespace

std::vector<std::string> describe(const Config& config) {
  const auto api = load();
  if (!api.ok()) return {"no: " + api.error().what};
  std::vector<std::string> lines;
  for (const auto& finding : survey(*api, {config.devices, config.interfaces}))
    lines.push_back((finding.result.ok() ? kUsable : "no") + (": " + to_string(finding)));
  return lines;
}

}  // namespace shoal::verbs
