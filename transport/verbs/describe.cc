#include "transport/verbs/survey.h"
#include "transport/verbs/verbs.h"

namespace shoal::verbs {

std::vector<std::string> describe(const Config& config) {
  const auto api = load();
  if (!api.ok()) return {"no: " + api.error().what};
  std::vector<std::string> lines;
  for (const auto& finding : survey(*api, {config.devices, config.interfaces}))
    lines.push_back((finding.result.ok() ? "yes: " : "no: ") + to_string(finding));
  return lines;
}

}  // namespace shoal::verbs
