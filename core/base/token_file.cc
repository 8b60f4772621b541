#include "core/base/token_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "core/base/entropy.h"

namespace shoal {

Result<TokenFile> TokenFile::create() {
  const char* directory = std::getenv("TMPDIR");
  std::string path = fmt::format("{}/shoal-token-XXXXXX",
                                 directory != nullptr && *directory != '\0' ? directory : "/tmp");
  const int fd = ::mkstemp(path.data());
  if (fd < 0) return Error{Errc::io, fmt::format("cannot make the token file {}", path), errno};
  TokenFile file(std::move(path));
  const auto token =
      fmt::format("{:016x}{:016x}{:016x}{:016x}\n", entropy(), entropy(), entropy(), entropy());
  const bool wrote = ::write(fd, token.data(), token.size()) == static_cast<ssize_t>(token.size());
  const int error = errno;
  ::close(fd);
  if (wrote) return file;
  return Error{Errc::io, fmt::format("cannot write the token file {}", file.path()), error};
}

TokenFile::~TokenFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace shoal
