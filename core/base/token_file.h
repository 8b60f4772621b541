#pragma once

#include <string>
#include <utility>

#include "core/base/result.h"

namespace shoal {

/// A new random token in a file that only this user may read, removed with the object: for a
/// cluster that lives no longer than this process. Move-only.
class TokenFile {
 public:
  /// In $TMPDIR or /tmp. Errors: io.
  static Result<TokenFile> create();
  TokenFile() = default;
  TokenFile(TokenFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TokenFile& operator=(TokenFile&& other) noexcept {
    std::swap(path_, other.path_);
    return *this;
  }
  ~TokenFile();
  const std::string& path() const { return path_; }

 private:
  explicit TokenFile(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace shoal
