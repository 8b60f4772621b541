#pragma once

#include <string>

#include "core/base/result.h"

namespace shoal {

/// Whether a file can be written at `path`, asked before the work whose result it gets. What is
/// there stays as it is; what is not there is not left behind. Errors: io, naming the path.
Status check_output(const std::string& path);

}  // namespace shoal
