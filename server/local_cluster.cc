#include "server/local_cluster.h"

#include <fmt/core.h>

#include <vector>

#include "core/base/token_file.h"
#include "server/host.h"

namespace shoal {

struct LocalCluster::Parts {
  RuleSet rules;
  Config config;
  TokenFile token_file;
  std::unique_ptr<SchedulerHost> scheduler;
  std::vector<std::unique_ptr<ServerHost>> servers;

  ~Parts() {
    scheduler.reset();  // first, so that it does not miss its servers
    servers.clear();
  }
};

LocalCluster::LocalCluster(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
LocalCluster::LocalCluster(LocalCluster&&) noexcept = default;
LocalCluster& LocalCluster::operator=(LocalCluster&&) noexcept = default;
LocalCluster::~LocalCluster() = default;
const Config& LocalCluster::config() const { return parts_->config; }

Result<LocalCluster> LocalCluster::start(Options options) {
  if (options.servers == 0)
    return Error{Errc::invalid_argument, "a local cluster has at least one server"};
  auto parts = std::make_unique<Parts>();
  parts->rules = std::move(options.rules);
  SHOAL_TRY(parts->rules.status());
  auto& config = parts->config = std::move(options.config);
  config.servers = options.servers;
  config.workers = options.workers;
  config.listen = "127.0.0.1:0";
  SHOAL_ASSIGN(parts->token_file, TokenFile::create());
  config.token_file = parts->token_file.path();
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
