#pragma once

#include <string>

#include "core/base/result.h"

namespace shoal::sparse_lr {

/// Refuses a gzip file in which something other than zeros or more gzip data follows the gzip data:
/// zlib's gzread() ends there as if it were the end, and what follows would be passed over in
/// silence. Other files are in order, and damage is gzread()'s to tell. Unpacks the file once, in
/// constant memory. Errors: io, no_memory, corrupt with the offset.
Status check_gzip_end(const std::string& path);

}  // namespace shoal::sparse_lr
