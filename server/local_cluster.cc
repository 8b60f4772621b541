#include "server/local_cluster.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "core/base/entropy.h"
#include "server/host.h"

namespace shoal {

struct LocalCluster::Parts {
  RuleSet rules;
  Config config;
  std::string token_file;
  std::unique_ptr<SchedulerHost> scheduler;
  std::vector<std::unique_ptr<ServerHost>> servers;

  ~Parts() {
    scheduler.reset();  // first, so that it does not miss its servers
    servers.clear();
    if (!token_file.empty()) ::unlink(token_file.c_str());
  }
};

namespace {

/// A file that only this user may read, with a random token.
Result<std::string> make_token_file() {
  const char* directory = std::getenv("TMPDIR");
  std::string path =
      fmt::format("{}/shoal-token-XXXXXX", directory != nullptr ? directory : "/tmp");
  const int fd = ::mkstemp(path.data());
  if (fd < 0) return Error{Errc::io, fmt::format("cannot make the token file {}", path), errno};
  const auto token =
      fmt::format("{:016x}{:016x}{:016x}{:016x}\n", entropy(), entropy(), entropy(), entropy());
  const bool wrote = ::write(fd, token.data(), token.size()) == static_cast<ssize_t>(token.size());
  const int error = errno;
  ::close(fd);
  if (wrote) return path;
  ::unlink(path.c_str());
  return Error{Errc::io, fmt::format("cannot write the token file {}", path), error};
}

}  // namespace

LocalCluster::LocalCluster(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
LocalCluster::LocalCluster(LocalCluster&&) noexcept = default;
LocalCluster& LocalCluster::operator=(LocalCluster&&) noexcept = default;
LocalCluster::~LocalCluster() = default;
const Config& LocalCluster::config() const { return parts_->config; }

Result<LocalCluster> LocalCluster::start(Options options) {
  auto parts = std::make_unique<Parts>();
  parts->rules = std::move(options.rules);
  SHOAL_TRY(parts->rules.status());
  auto& config = parts->config = std::move(options.config);
  config.servers = options.servers;
  config.workers = options.workers;
  config.listen = "127.0.0.1:0";
  SHOAL_ASSIGN(parts->token_file, make_token_file());
  config.token_file = parts->token_file;
  SHOAL_ASSIGN(parts->scheduler, SchedulerHost::start(config));
  config.scheduler = parts->scheduler->address().to_string();
  for (std::uint32_t i = 0; i < options.servers; ++i) {
    auto own = config;
    own.name = fmt::format("server {}", i);
    SHOAL_ASSIGN(auto server, ServerHost::start(own, parts->rules));
    parts->servers.push_back(std::move(server));
  }
  return LocalCluster(std::move(parts));
}

}  // namespace shoal
