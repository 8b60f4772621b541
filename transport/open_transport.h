#pragma once

#include <memory>

#include "core/base/config.h"
#include "core/base/result.h"
#include "core/memory/dma_buf.h"
#include "transport/transport.h"

namespace shoal {

/// The transport for data: what `config.transports` asks for, as far as this machine has it, with
/// the cluster's token from `config.token_file`. Each pair of peers uses the best that both have;
/// TCP makes their connections in any case. `clock`, and `exporter` of GPUs' memory if there is
/// one, outlive it. Errors: invalid_argument (a name that is no transport), unavailable (RDMA is
/// required and not there: why), invalid_argument and io for the token, io for sockets.
Result<std::unique_ptr<Transport>> open_transport(const Config& config, const Clock& clock,
                                                  DmaBufExporter* exporter = nullptr);

/// The transport of processes that only coordinate, and of heartbeats: TCP. Errors: those of the
/// token and of sockets.
Result<std::unique_ptr<Transport>> open_control_transport(const Config& config, const Clock& clock);

}  // namespace shoal
