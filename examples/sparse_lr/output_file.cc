#include "examples/sparse_lr/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/base/assert.h"
#include "examples/sparse_lr/paths.h"

namespace shoal::sparse_lr {
namespace {

/// Written to try whether there is room: a block of any file system.
constexpr std::size_t kTrialBytes = 4096;
constexpr ::mode_t kPermissions = 0777;

Error cannot_write(const std::string& path, int error) {
  return {Errc::io, "cannot write " + path, error};
}

}  // namespace

Result<OutputFile> OutputFile::create(const std::string& path) {
  OutputFile output(path);
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) return cannot_write(path, EISDIR);
  if (exists && !S_ISREG(status.st_mode)) {
    SHOAL_TRY(output.open_stream());
    return output;
  }
  if (exists && ::access(path.c_str(), W_OK) != 0) return cannot_write(path, errno);
  output.target_ = link_target(path);
  output.mode_ = exists ? status.st_mode & kPermissions : 0;
  SHOAL_TRY(output.try_place());
  return output;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      stream_(std::exchange(other.stream_, -1)),
      target_(std::move(other.target_)),
      mode_(other.mode_),
      file_(std::move(other.file_)),
      committed_(other.committed_),
      state_(std::move(other.state_)) {}

OutputFile::~OutputFile() {
  if (stream_ >= 0) ::close(stream_);
}

Status OutputFile::open_stream() {
  stream_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  if (stream_ < 0) return cannot_write(path_, errno);
  return {};
}

Status OutputFile::try_place() {
  auto trial = TemporaryFile::create(directory_of(target_));
  if (!trial.ok())
    return Error{Errc::io, "cannot write " + path_ + "; is its directory there and writable?",
                 trial.error().native};
  if (!write_all(trial->descriptor(), std::string(kTrialBytes, ' ')))
    return cannot_write(path_, errno);
  return {};
}

/// The temporary file, once there is something to put into it.
Status OutputFile::begin() {
  if (stream_ >= 0 || file_) return {};
  auto file = TemporaryFile::create(directory_of(target_));
  if (!file.ok()) return cannot_write(path_, file.error().native);
  file_.emplace(std::move(*file));
  if (mode_ != 0 && ::fchmod(file_->descriptor(), mode_) != 0) return cannot_write(path_, errno);
  return {};
}

void OutputFile::write(std::string_view text) {
  SHOAL_ASSERT(!committed_, "write after commit");
  if (state_.ok()) state_ = begin();
  if (!state_.ok()) return;
  if (!write_all(stream_ >= 0 ? stream_ : file_->descriptor(), text))
    state_ = cannot_write(path_, errno);
}

Status OutputFile::commit() {
  SHOAL_ASSERT(!committed_, "commit twice");
  committed_ = true;
  if (state_.ok()) state_ = begin();
  SHOAL_TRY(std::move(state_));
  if (stream_ < 0) {
    if (auto status = file_->replace(target_); !status.ok())
      return cannot_write(path_, status.error().native);
    return {};
  }
  if (::close(std::exchange(stream_, -1)) != 0) return cannot_write(path_, errno);
  return {};
}

}  // namespace shoal::sparse_lr
