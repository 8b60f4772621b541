#pragma once

#include <string>

#include "core/base/config.h"
#include "core/base/result.h"

namespace shoal {

/// Where this process's token comes from, for messages about one that does not match.
std::string token_source(const Config& config);
/// The cluster's token: the file's bytes without trailing white space. Errors: io, invalid_argument
/// for an empty or a long file (4 KiB are enough) or one that others may read (says how to mend
/// it).
Result<std::string> read_token(const std::string& path);

}  // namespace shoal
