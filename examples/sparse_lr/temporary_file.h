#pragma once

#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal::sparse_lr {

/// A new file under a name of its own, which is gone when this is destroyed, unless it took another
/// file's place; also when the process ends by a signal, see remove_temporary_files_on_signals().
class TemporaryFile {
 public:
  /// Errors: io.
  static Result<TemporaryFile> create(const std::string& directory);
  TemporaryFile(TemporaryFile&& other) noexcept;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile();

  int descriptor() const { return descriptor_; }
  /// Takes the place of `path`, of the same directory, at once and whole. Errors: io.
  Status replace(const std::string& path);

 private:
  TemporaryFile(std::string name, int descriptor, int slot)
      : name_(std::move(name)), descriptor_(descriptor), slot_(slot) {}

  std::string name_;  ///< empty: moved from, or in its place
  int descriptor_;
  int slot_;  ///< where the signal handler finds the name; -1: nowhere
};

/// From now on SIGINT, SIGTERM and SIGHUP remove the temporary files there are before they end the
/// process as ever. A signal that is ignored stays so.
void remove_temporary_files_on_signals();

/// Writes all of `text`. False: errno says why.
bool write_all(int descriptor, std::string_view text);

}  // namespace shoal::sparse_lr
