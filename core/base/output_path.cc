#include "core/base/output_path.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace shoal {

Status check_output(const std::string& path) {
  const auto failed = [&] { return Error{Errc::io, "cannot write " + path, errno}; };
  // Of what exists the rights are enough: to open a pipe would be to wait for its reader.
  if (::access(path.c_str(), F_OK) == 0) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno != ENXIO) return failed();  // ENXIO: a pipe that nobody reads yet
    if (fd >= 0) ::close(fd);
    return {};
  }
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return failed();
  ::close(fd);
  ::unlink(path.c_str());
  return {};
}

}  // namespace shoal
