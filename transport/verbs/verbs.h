#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "core/memory/dma_buf.h"
#include "transport/fabric.h"
#include "transport/verbs/api.h"
#include "transport/verbs/numa.h"
#include "transport/verbs/survey.h"

namespace shoal::verbs {

struct Counters;

/// What RDMA over libibverbs finds on this machine under `config.devices` and `config.interfaces`,
/// for people: a line for each port, "yes: rxe0 port 1 (RoCE v2 10.77.0.1, ...)" or "no: rxe0 port
/// 2: the port is down: ..."; or one "no: " with what the machine lacks. Opens and closes devices.
std::vector<std::string> describe(const Config& config);

/// The first of these that can be used. Errors: unavailable (why not, of each).
Result<Port> first_port(const Config& config);

/// RDMA over the ports that `filters` take, all of which are opened. `clock`, `counters` and
/// `exporter` (of GPUs' memory; both optional) outlive it. Errors: unavailable (no port can be
/// used: why not, of each).
Result<std::unique_ptr<Fabric>> create_fabric(const Api& api, const Filters& filters,
                                              const Clock& clock, Counters* counters = nullptr,
                                              DmaBufExporter* exporter = nullptr, Numa numa = {});

}  // namespace shoal::verbs
