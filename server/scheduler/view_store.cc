#include "server/scheduler/view_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace shoal {

namespace {

constexpr std::uint64_t kFileMagic = 0x3357454956484853;  // "SHHVIEW3"
/// The bound of what G was told is ahead of G by less.
constexpr std::int64_t kClocksAhead = 1 << 20;
constexpr std::size_t kFileBytesMax = std::size_t{256} << 20;

struct WirePassed {
  std::uint64_t worker = 0;
  std::uint64_t number = 0;
};

/// What stands before the encoded view.
struct FileHead {
  std::uint64_t magic = kFileMagic;
  std::uint64_t checksum = 0;  ///< XXH3-64 of the rest of the file
  std::uint32_t next_node = 0;
  std::uint32_t next_table = 0;
  std::int64_t clock_bound = 0;
  std::uint64_t barriers = 0;  ///< how many WirePassed follow, before all else
};
static_assert(sizeof(FileHead) == 40 && sizeof(WirePassed) == 16);

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

/// At most one byte more than a state can have.
Result<std::vector<std::byte>> read_all(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return io_error("cannot read", path);
  std::vector<std::byte> bytes(
      std::min(static_cast<std::size_t>(status.st_size), kFileBytesMax + 1));
  for (std::size_t got = 0; got < bytes.size();) {
    const auto n = ::read(fd, bytes.data() + got, bytes.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read", path);
    if (n == 0) bytes.resize(got);
    got += static_cast<std::size_t>(n);
  }
  return bytes;
}

/// Over all of the file but the field itself.
std::uint64_t checksum_of(FileHead head, std::span<const std::byte> rest) {
  head.checksum = 0;
  return XXH3_64bits_withSeed(rest.data(), rest.size(), XXH3_64bits(&head, sizeof head));
}

/// Their number; of each the number of servers, these, and the rules.
void encode(Writer& out, const std::vector<ServerRules>& all) {
  out.put(static_cast<std::uint32_t>(all.size()));
  for (const auto& some : all) {
    out.put(static_cast<std::uint32_t>(some.servers.size()));
    for (const auto server : some.servers) out.put(server);
    encode(out, some.rules);
  }
}

std::size_t encoded_bytes(const std::vector<ServerRules>& all) {
  std::size_t bytes = sizeof(std::uint32_t);
  for (const auto& some : all)
    bytes += sizeof(std::uint32_t) + some.servers.size() * sizeof(NodeId) +
             encoded_bytes(std::span<const RuleInfo>(some.rules));
  return bytes;
}

std::vector<ServerRules> decode_server_rules(Reader& in) {
  std::vector<ServerRules> all(in.get_count(2 * sizeof(std::uint32_t)));
  for (auto& some : all) {
    some.servers.resize(in.get_count(sizeof(NodeId)));
    for (auto& server : some.servers) server = in.get<NodeId>();
    some.rules = decode_rules(in);
  }
  return all;
}

void encode(Writer& out, const std::vector<MemoryOfServer>& all) {
  out.put(static_cast<std::uint32_t>(all.size()));
  for (const auto& one : all) {
    out.put(one.server);
    out.put(one.bytes);
  }
}

constexpr std::size_t kMemoryBytes = sizeof(NodeId) + sizeof(std::uint64_t);

std::vector<MemoryOfServer> decode_memory(Reader& in) {
  std::vector<MemoryOfServer> all(in.get_count(kMemoryBytes));
  for (auto& one : all) {
    one.server = in.get<NodeId>();
    one.bytes = in.get<std::uint64_t>();
  }
  return all;
}

/// What follows the head: the barriers, the servers' rules and memory, then the view.
std::vector<std::byte> body_of(const StoredView& stored) {
  const auto view = encode_view(stored.view);
  std::vector<std::byte> body(stored.barriers.size() * sizeof(WirePassed) +
                              encoded_bytes(stored.rules) + sizeof(std::uint32_t) +
                              stored.memory.size() * kMemoryBytes + view.size());
  Writer out(body);
  for (const auto& passed : stored.barriers)
    out.put(WirePassed{passed.worker.value, passed.number});
  encode(out, stored.rules);
  encode(out, stored.memory);
  out.put_bytes(view);
  SHOAL_ASSERT(out.ok(), "a stored view is larger than its buffer");
  return body;
}

/// Each server of the view said what it knows and has, and nobody else did.
bool knows_its_servers(const StoredView& stored) {
  std::vector<NodeId> servers, with_rules, with_memory;
  for (const auto& node : stored.view.nodes)
    if (node.role == Role::server) servers.push_back(node.id);
  for (const auto& some : stored.rules)
    with_rules.insert(with_rules.end(), some.servers.begin(), some.servers.end());
  std::sort(with_rules.begin(), with_rules.end());
  for (const auto& one : stored.memory) with_memory.push_back(one.server);
  return servers == with_rules && servers == with_memory;
}

/// Ids, terms and clocks go on from those that were given.
bool goes_on(const StoredView& stored) {
  const auto& view = stored.view;
  return (view.nodes.empty() || view.nodes.back().id.value < stored.next_node) &&
         (view.tables.empty() || view.tables.back().id.value < stored.next_table) &&
         view.epoch.term < std::numeric_limits<std::uint32_t>::max() &&
         stored.clock_bound >= WorkerClock(0) && stored.clock_bound <= kClockMax + kClocksAhead;
}

}  // namespace

std::vector<std::byte> encode_stored(const StoredView& stored) {
  const auto body = body_of(stored);
  FileHead head;
  head.next_node = stored.next_node;
  head.next_table = stored.next_table;
  head.clock_bound = stored.clock_bound.value;
  head.barriers = stored.barriers.size();
  head.checksum = checksum_of(head, body);
  std::vector<std::byte> bytes(sizeof head + body.size());
  std::memcpy(bytes.data(), &head, sizeof head);
  std::memcpy(bytes.data() + sizeof head, body.data(), body.size());
  return bytes;
}

Result<StoredView> decode_stored(std::span<const std::byte> bytes) {
  if (bytes.size() < sizeof(FileHead) || bytes.size() > kFileBytesMax)
    return Error{Errc::corrupt, "truncated"};
  const Error damaged{Errc::corrupt, "damaged"};
  FileHead head;
  std::memcpy(&head, bytes.data(), sizeof head);
  const auto body = bytes.subspan(sizeof head);
  if (head.magic != kFileMagic || head.checksum != checksum_of(head, body) ||
      head.barriers > body.size() / sizeof(WirePassed))
    return damaged;
  StoredView stored;
  stored.next_node = head.next_node;
  stored.next_table = head.next_table;
  stored.clock_bound = WorkerClock(head.clock_bound);
  Reader in(body);
  for (std::uint64_t i = 0; i < head.barriers; ++i) {
    const auto passed = in.get<WirePassed>();
    if (passed.worker > std::numeric_limits<std::uint32_t>::max()) return damaged;
    stored.barriers.push_back({NodeId(static_cast<std::uint32_t>(passed.worker)), passed.number});
  }
  stored.rules = decode_server_rules(in);
  stored.memory = decode_memory(in);
  if (!in.ok()) return damaged;
  auto view = decode_view(in.get_bytes(in.left()));
  if (!view.ok()) return damaged;
  stored.view = std::move(view).value();
  if (!knows_its_servers(stored) || !goes_on(stored)) return damaged;
  return stored;
}

Result<FileViewStore> FileViewStore::open(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return io_error("cannot make the state directory", directory);
  const auto path = directory + "/lock";
  const int lock = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return io_error("cannot write to the state directory:", path);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock);
    return Error{Errc::exists,
                 fmt::format("another scheduler uses the state directory {}: stop it, "
                             "or give this one its own (state_dir)",
                             directory)};
  }
  return FileViewStore(directory, lock);
}

FileViewStore::FileViewStore(FileViewStore&& other) noexcept
    : directory_(std::move(other.directory_)), lock_(std::exchange(other.lock_, -1)) {}

FileViewStore::~FileViewStore() {
  if (lock_ >= 0) ::close(lock_);
}

Status FileViewStore::save(const StoredView& stored) {
  const auto bytes = encode_stored(stored);
  const auto path = directory_ + "/view";
  const auto fresh = path + ".new";
  {
    Descriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file.ok()) return io_error("cannot write", fresh);
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
  SHOAL_ASSIGN(const auto bytes, read_all(file.get(), path));
  auto stored = decode_stored(bytes);
  if (!stored.ok())
    return Error{
        Errc::corrupt,
        fmt::format("{} is {}: the cluster's state cannot be taken up again. Restore it, or "
                    "remove it to start a new cluster",
                    path, stored.error().what)};
  return std::optional<StoredView>(std::move(stored).value());
}

}  // namespace shoal
