#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "examples/sparse_lr/temporary_file.h"

namespace shoal::sparse_lr {

/// A file that appears under its name only when it is complete: what is written goes to a temporary
/// file beside it, which commit() renames. A symbolic link stays, and what it leads to is replaced.
/// Devices and pipes are never replaced but written to as the text comes.
///
/// Made before the training starts: a path that cannot be written, and a full disk, are found out
/// at once. Nothing lies on the disk before the first write().
class OutputFile {
 public:
  /// Waits for the reader of a named pipe, as the shell does. Errors: io, naming the path.
  static Result<OutputFile> create(const std::string& path);
  OutputFile(OutputFile&&) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// A failure is remembered and told by commit().
  void write(std::string_view text);
  /// Errors: io, naming the path.
  Status commit();
  const std::string& path() const { return path_; }

 private:
  explicit OutputFile(std::string path) : path_(std::move(path)) {}
  Status open_stream();
  Status try_place();
  Status begin();

  std::string path_;
  int stream_ = -1;     ///< the device or pipe, if it is one
  std::string target_;  ///< what is replaced otherwise
  ::mode_t mode_ = 0;   ///< of the file replaced; 0: there was none
  std::optional<TemporaryFile> file_;
  bool committed_ = false;
  Status state_;  ///< the first failure
};

}  // namespace shoal::sparse_lr
