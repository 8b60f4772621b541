#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/result.h"

namespace shoal::sparse_lr {

/// A file that appears under its name only when it is complete: it is written as "path.partial" and
/// renamed by commit(). Made before the training starts, so that a path that cannot be written is
/// found out at once. Errors: io, naming the path.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::string& path);
  OutputFile(OutputFile&&) noexcept = default;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  /// A failure is remembered and told by commit().
  void write(std::string_view text);
  Status commit();
  const std::string& path() const { return path_; }

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  OutputFile() = default;

  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;
  int write_error_ = 0;  ///< errno of the first failure
};

}  // namespace shoal::sparse_lr
