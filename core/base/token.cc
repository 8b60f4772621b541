#include "core/base/token.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>

namespace shoal {

namespace {

constexpr std::size_t kTokenFileBytesMax = 4096;

}  // namespace

std::string token_source(const Config& config) {
  const auto origin = config.origins.find("token_file");
  const auto* from = origin == config.origins.end()     ? "set by the program"
                     : origin->second == "environment"  ? "SHOAL_TOKEN_FILE in the environment"
                     : origin->second == "command line" ? "--token-file on the command line"
                                                        : origin->second.c_str();
  return fmt::format("token_file = '{}' ({})", config.token_file, from);
}

Result<std::string> read_token(const std::string& path) {
  if (path.empty())
    return Error{
        Errc::invalid_argument,
        "no token file: set token_file (SHOAL_TOKEN_FILE) to a file that every process of "
        "the cluster has, as made by: (umask 077; head -c 32 /dev/urandom | base64 > token)"};
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{Errc::io, fmt::format("cannot open the token file {}", path), errno};
  struct stat status {};
  std::string token(kTokenFileBytesMax + 1, '\0');
  std::size_t size = 0;
  bool known = ::fstat(fd, &status) == 0;
  while (known && size < token.size()) {
    const auto got = ::read(fd, token.data() + size, token.size() - size);
    if (got == 0) break;
    if (got > 0)
      size += static_cast<std::size_t>(got);
    else
      known = errno == EINTR;
  }
  const int error = errno;
  ::close(fd);
  if (!known) return Error{Errc::io, fmt::format("cannot read the token file {}", path), error};
  if ((status.st_mode & (S_IROTH | S_IWOTH)) != 0)
    return Error{
        Errc::invalid_argument,
        fmt::format("the token file {} can be read by everybody: chmod 600 {}", path, path)};
  if (size > kTokenFileBytesMax)
    return Error{Errc::invalid_argument,
                 fmt::format("the token file {} has more than {} bytes: a token is a line, as made "
                             "by: (umask 077; head -c 32 /dev/urandom | base64 > token)",
                             path, kTokenFileBytesMax)};
  token.resize(size);
  while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back()))) token.pop_back();
  if (token.empty())
    return Error{Errc::invalid_argument, fmt::format("the token file {} is empty", path)};
  return token;
}

}  // namespace shoal
