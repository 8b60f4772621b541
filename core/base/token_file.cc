#include "core/base/token_file.h"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/base/entropy.h"

namespace shoal {

Result<TokenFile> TokenFile::create() {
  TokenFile file;
  file.fd_ = ::memfd_create("shoal-token", MFD_CLOEXEC);
  const auto token =
      fmt::format("{:016x}{:016x}{:016x}{:016x}\n", entropy(), entropy(), entropy(), entropy());
  if (file.fd_ < 0 || ::fchmod(file.fd_, 0600) != 0 ||
      ::write(file.fd_, token.data(), token.size()) != static_cast<ssize_t>(token.size()))
    return Error{Errc::io, "cannot make the file of the cluster's token (memfd_create)", errno};
  file.path_ = fmt::format("/proc/{}/fd/{}", ::getpid(), file.fd_);
  return file;
}

TokenFile::~TokenFile() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace shoal
