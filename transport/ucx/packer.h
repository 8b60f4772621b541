#pragma once

#include "transport/ucx/api.h"

namespace shoal::ucx {

/// The type of a packet's data: UCX asks for the bytes at the moment at which it stores them in
/// memory of its own, and so never holds an address that is lent. Errors: unavailable.
Result<ucp_datatype_t> create_packed_type(const Api& api);

}  // namespace shoal::ucx
