#include "server/view_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace shoal {

namespace {

constexpr std::uint64_t kFileMagic = 0x3157454956484853;  // "SHHVIEW1"
constexpr std::size_t kFileBytesMax = std::size_t{256} << 20;

/// What stands before the encoded view.
struct FileHead {
  std::uint64_t magic = kFileMagic;
  std::uint64_t checksum = 0;  ///< XXH3-64 of the rest of the file
  std::uint32_t next_node = 0;
  std::uint32_t next_table = 0;
};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

Error io_error(std::string_view what, const std::string& path) {
  return {Errc::io, fmt::format("{} {}", what, path), errno};
}

Status write_all(int fd, const void* data, std::size_t bytes, const std::string& path) {
  const auto* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const auto wrote = ::write(fd, at, bytes);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return io_error("cannot write", path);
    at += wrote;
    bytes -= static_cast<std::size_t>(wrote);
  }
  return {};
}

std::uint64_t checksum_of(const FileHead& head, std::span<const std::byte> view) {
  const auto ids = (std::uint64_t{head.next_node} << 32) | head.next_table;
  return XXH3_64bits_withSeed(view.data(), view.size(), ids);
}

}  // namespace

Result<FileViewStore> FileViewStore::open(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return io_error("cannot make the state directory", directory);
  const auto path = directory + "/lock";
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return io_error("cannot write to the state directory: ", path);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock);
    return Error{Errc::exists, fmt::format("another scheduler uses the state directory {}: stop it, "
                                           "or give this one its own (state_dir)", directory)};
  }
  return FileViewStore(directory, lock);
}

FileViewStore::FileViewStore(FileViewStore&& other) noexcept
    : directory_(std::move(other.directory_)), lock_(std::exchange(other.lock_, -1)) {}

FileViewStore::~FileViewStore() {
  if (lock_ >= 0) ::close(lock_);
}

Status FileViewStore::save(const StoredView& stored) {
  const auto bytes = encode_view(stored.view);
  FileHead head;
  head.next_node = stored.next_node;
  head.next_table = stored.next_table;
  head.checksum = checksum_of(head, bytes);
  const auto path = directory_ + "/view";
  const auto fresh = path + ".new";
  {
    Descriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file.ok()) return io_error("cannot write", fresh);
    SHOAL_TRY(write_all(file.get(), &head, sizeof head, fresh));
    SHOAL_TRY(write_all(file.get(), bytes.data(), bytes.size(), fresh));
    if (::fsync(file.get()) != 0) return io_error("cannot sync", fresh);
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return io_error("cannot rename over", path);
  Descriptor folder(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.ok() || ::fsync(folder.get()) != 0) return io_error("cannot sync", directory_);
  return {};
}

Result<std::optional<StoredView>> FileViewStore::load() {
  const auto path = directory_ + "/view";
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok() && errno == ENOENT) return std::optional<StoredView>{};
  if (!file.ok()) return io_error("cannot read", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return io_error("cannot read", path);
  const auto damaged = [&](std::string_view how) {
    return Error{Errc::corrupt,
                 fmt::format("{} is {}: the cluster's state cannot be taken up again. Restore it, or "
                             "remove it to start a new cluster", path, how)};
  };
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size < sizeof(FileHead) || size > kFileBytesMax) return damaged("truncated");
  std::vector<std::byte> bytes(size);
  for (std::size_t got = 0; got < size;) {
    const auto n = ::read(file.get(), bytes.data() + got, size - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read", path);
    if (n == 0) return damaged("truncated");
    got += static_cast<std::size_t>(n);
  }
  FileHead head;
  std::memcpy(&head, bytes.data(), sizeof head);
  const auto view_bytes = std::span<const std::byte>(bytes).subspan(sizeof head);
  if (head.magic != kFileMagic || head.checksum != checksum_of(head, view_bytes))
    return damaged("damaged");
  auto view = decode_view(view_bytes);
  if (!view.ok()) return damaged("damaged");
  return std::optional<StoredView>(
      StoredView{std::move(view).value(), head.next_node, head.next_table});
}

}  // namespace shoal
