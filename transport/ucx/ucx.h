#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "transport/fabric.h"
#include "transport/ucx/api.h"
#include "transport/ucx/context.h"

namespace shoal::ucx {

/// What UCX finds on this machine, for people: "yes: UCX 1.13.1, moves host memory ..." or "no: "
/// with what is missing; and, where `config` filters devices, which are left. Loads the library.
std::vector<std::string> describe(const Config& config);

/// What a process with this configuration lets UCX use: the devices that its filters take; without
/// filters, whatever the user's UCX_NET_DEVICES say.
Options options_of(const Config& config);

/// Links over active messages of UCP. `clock` outlives it. Errors: unavailable (nothing that UCX
/// can use, or a setting that it does not take).
Result<std::unique_ptr<Fabric>> create_fabric(const Api& api, const Options& options,
                                              const Clock& clock);

}  // namespace shoal::ucx
