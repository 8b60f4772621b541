#include "examples/sparse_lr/output_file.h"

#include <unistd.h>

#include <cerrno>

#include "core/base/assert.h"

namespace shoal::sparse_lr {
namespace {

std::string partial(const std::string& path) { return path + ".partial"; }

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path) {
  OutputFile output;
  output.file_.reset(std::fopen(partial(path).c_str(), "we"));
  if (output.file_ == nullptr)
    return Error{Errc::io, "cannot write " + path + "; is its directory there and writable?",
                 errno};
  output.path_ = path;
  return output;
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) ::unlink(partial(path_).c_str());
}

void OutputFile::write(std::string_view text) {
  SHOAL_ASSERT(file_ != nullptr, "write after commit");
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() && write_error_ == 0)
    write_error_ = errno;
}

Status OutputFile::commit() {
  SHOAL_ASSERT(file_ != nullptr, "commit twice");
  if (std::fflush(file_.get()) != 0 && write_error_ == 0) write_error_ = errno;
  file_.reset();
  if (write_error_ == 0 && std::rename(partial(path_).c_str(), path_.c_str()) == 0) return {};
  const int error = write_error_ != 0 ? write_error_ : errno;
  ::unlink(partial(path_).c_str());
  return Error{Errc::io, "cannot write " + path_, error};
}

}  // namespace shoal::sparse_lr
