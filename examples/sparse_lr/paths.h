#pragma once

#include <string>

namespace shoal::sparse_lr {

/// Where `path` leads: its symbolic links are followed, also those whose target is not there.
std::string link_target(const std::string& path);

/// The directory that `path` is in, as a path that can be opened.
std::string directory_of(const std::string& path);

/// Whether both name one file, there already or about to be made. Devices hold nothing that could
/// be overwritten: /dev/null is never the same as itself.
bool is_same_file(const std::string& a, const std::string& b);

}  // namespace shoal::sparse_lr
