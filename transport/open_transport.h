#pragma once

#include <memory>

#include "core/base/config.h"
#include "core/base/result.h"
#include "transport/transport.h"

namespace shoal {

/// The transport that `config.transports` asks for, with the cluster's token from
/// `config.token_file`. `clock` outlives it. Errors: unavailable (a name that this build has not;
/// says which it has), invalid_argument and io for the token, io for sockets.
Result<std::unique_ptr<Transport>> open_transport(const Config& config, const Clock& clock);

}  // namespace shoal
