#include "transport/pinned_memory.h"
#include "transport/reasons.h"
#include "transport/verbs/survey.h"
#include "transport/verbs/verbs.h"

namespace shoal::verbs {

std::vector<std::string> describe(const Config& config) {
  const auto api = load();
  if (!api.ok()) return {"no: " + api.error().what};
  std::vector<std::string> lines;
  const auto limit = pin_limit();
  const auto limited = limit ? "; but " + about_lock_limit(*limit) : std::string();
  for (const auto& finding : survey(*api, {config.devices, config.interfaces}))
    lines.push_back(finding.result.ok() ? "yes: " + to_string(finding) + limited
                                        : "no: " + to_string(finding));
  return lines;
}

Result<Port> first_port(const Config& config) {
  SHOAL_ASSIGN(const auto api, load());
  std::string why_not;
  for (const auto& finding : survey(api, {config.devices, config.interfaces})) {
    if (finding.result.ok()) return *finding.result;
    why_not = both(why_not, to_string(finding));
  }
  return Error{Errc::unavailable, why_not};
}

}  // namespace shoal::verbs
