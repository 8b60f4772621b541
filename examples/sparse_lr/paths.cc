#include "examples/sparse_lr/paths.h"

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <tuple>

namespace shoal::sparse_lr {
namespace {

constexpr int kLinksMax = 40;  // as many as Linux follows

/// A file's device and inode; for one that is yet to be made its directory's, and its name.
using Identity = std::tuple<::dev_t, ::ino_t, std::string>;

std::optional<Identity> identity_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISCHR(status.st_mode)) return {};
    return Identity{status.st_dev, status.st_ino, ""};
  }
  const auto target = link_target(path);
  if (::stat(directory_of(target).c_str(), &status) != 0) return {};
  return Identity{status.st_dev, status.st_ino, std::filesystem::path(target).filename().string()};
}

}  // namespace

std::string link_target(const std::string& path) {
  std::filesystem::path target = path;
  for (int i = 0; i < kLinksMax; ++i) {
    std::error_code error;
    const auto next = std::filesystem::read_symlink(target, error);
    if (error) break;
    target = target.parent_path() / next;  // an absolute `next` stands alone
  }
  return target.string();
}

std::string directory_of(const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

bool is_same_file(const std::string& a, const std::string& b) {
  const auto first = identity_of(a);
  return first && first == identity_of(b);
}

}  // namespace shoal::sparse_lr
