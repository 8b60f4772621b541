#pragma once

#include <string>
#include <utility>

#include "core/base/result.h"

namespace shoal {

/// A new random token for a cluster that lives no longer than this process, in a file that only
/// this user's processes may read. It lies in memory (memfd_create(2)) and is named through /proc,
/// so that nothing stays behind however the process ends. Move-only.
class TokenFile {
 public:
  /// Errors: io.
  static Result<TokenFile> create();
  TokenFile() = default;
  TokenFile(TokenFile&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::exchange(other.path_, {})) {}
  TokenFile& operator=(TokenFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~TokenFile();
  /// For this process and its children, and whoever else the user runs.
  const std::string& path() const { return path_; }

 private:
  int fd_ = -1;
  std::string path_;
};

}  // namespace shoal
