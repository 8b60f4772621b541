#include "perf/bench/sides.h"

#include <fmt/core.h>

#include <charconv>
#include <cstdlib>
#include <memory>
#include <thread>

#include "perf/child.h"
#include "perf/host.h"
#include "server/local_cluster.h"

namespace shoal::perf {

namespace {

/// Processes that spin get cores of their own, but not with a progress thread: caller and thread
/// both spin, and need two.
bool apart(const ClusterSetup& setup) {
  return setup.wait == Wait::spin && setup.progress == Config::Progress::caller;
}

std::unique_ptr<CoreSeat> seat_if(bool wanted, Seat seat) {
  return wanted ? std::make_unique<CoreSeat>(seat) : nullptr;
}

/// What the environment sets, so that settings can be tried; not what would tie the runs together.
Result<Config> tried_config(const ClusterSetup& setup) {
  SHOAL_ASSIGN(auto config, Config::from_env());
  config.name = config.trace = config.state_dir = {};
  config.transports = setup.transports;  // as the rows' names say
  return config;
}

/// Of a process that has just begun, and has one thread.
void set_ways(const ClusterSetup& setup) {
  if (!setup.ucx_tls.empty()) ::setenv("UCX_TLS", setup.ucx_tls.c_str(), 1);
}

/// Scheduler and server, until the parent has heard enough.
Status serve_cluster(const ClusterSetup& setup, Channel& parent) {
  const auto seat = seat_if(apart(setup), Seat::answers);
  set_ways(setup);
  LocalCluster::Options options;
  SHOAL_ASSIGN(options.config, tried_config(setup));
  options.workers = setup.workers;
  options.config.spin = spin_of(setup.wait);
  SHOAL_ASSIGN(const auto cluster, LocalCluster::start(std::move(options)));
  SHOAL_TRY(parent.send(cluster.config().scheduler));
  SHOAL_TRY(parent.send(cluster.config().token_file));
  parent.wait_for_end();
  return {};
}

Status work(Config config, const ClusterSetup& setup, const Effort& effort, const WatcherBody& body,
            pid_t servers, Channel& parent) {
  const auto seat = seat_if(apart(setup), Seat::asks);
  set_ways(setup);
  config.spin = spin_of(setup.wait);
  config.progress = setup.progress;
  SHOAL_ASSIGN(auto worker, Worker::connect(config));
  SHOAL_ASSIGN(const auto number, body(worker, effort, servers));
  SHOAL_TRY(parent.send(fmt::format("{}", number)));
  return worker.leave();
}

Result<double> parse_number(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{})
    return Error{Errc::protocol, fmt::format("'{}' of a worker is no number", text)};
  return number;
}

Result<std::vector<double>> run_watched(const ClusterSetup& setup, const Effort& effort,
                                        const WatcherBody& body) {
  SHOAL_ASSIGN(auto servers, Child::start("servers", [&](Channel& parent) {
                 return serve_cluster(setup, parent);
               }));
  SHOAL_ASSIGN(auto config, tried_config(setup));
  SHOAL_ASSIGN(config.scheduler, servers.receive());
  SHOAL_ASSIGN(config.token_file, servers.receive());
  std::vector<Child> workers;
  for (std::uint32_t i = 0; i < setup.workers; ++i) {
    SHOAL_ASSIGN(auto worker, Child::start(fmt::format("worker {}", i), [&](Channel& parent) {
                   return work(config, setup, effort, body, servers.pid(), parent);
                 }));
    workers.push_back(std::move(worker));
  }
  std::vector<double> numbers;
  for (auto& worker : workers) {
    SHOAL_ASSIGN(const auto text, worker.receive());
    SHOAL_ASSIGN(const auto number, parse_number(text));
    numbers.push_back(number);
  }
  for (auto& worker : workers) SHOAL_TRY(worker.finish());
  SHOAL_TRY(servers.finish());
  return numbers;
}

}  // namespace

Result<std::vector<double>> run_cluster(const ClusterSetup& setup, const Effort& effort,
                                        const WorkerBody& body) {
  return run_watched(setup, effort,
                     [&](Worker& worker, const Effort& e, pid_t) { return body(worker, e); });
}

Result<double> run_watcher(const ClusterSetup& setup, const Effort& effort,
                           const WatcherBody& body) {
  SHOAL_ASSIGN(const auto numbers, run_watched(setup, effort, body));
  return numbers.front();
}

Result<double> run_worker(const ClusterSetup& setup, const Effort& effort, const WorkerBody& body) {
  SHOAL_ASSIGN(const auto numbers, run_cluster(setup, effort, body));
  return numbers.front();
}

Status wait_for(Ticket& ticket) {
  if (!ticket.valid()) return {};
  const auto done = ticket.wait();
  return done.ok() ? Status() : Status(done.error());
}

Result<double> run_alone(const std::string& name, const std::function<Result<double>()>& body) {
  SHOAL_ASSIGN(auto child, Child::start(name, [&](Channel& parent) -> Status {
                 SHOAL_ASSIGN(const auto number, body());
                 return parent.send(fmt::format("{}", number));
               }));
  SHOAL_ASSIGN(const auto text, child.receive());
  SHOAL_TRY(child.finish());
  return parse_number(text);
}

Result<Measured> run_raw(const RawPattern& pattern, const Effort& effort) {
  const bool spins = pattern.wait == Wait::spin;
  SHOAL_ASSIGN(const auto server, RawServer::create());
  SHOAL_ASSIGN(auto peer, Child::start("raw peer", [&](Channel&) {
                 const auto seat = seat_if(spins, Seat::answers);
                 return server->serve(pattern);
               }));
  const auto seat = seat_if(spins, Seat::asks);
  SHOAL_ASSIGN(auto client, RawClient::connect(server->port(), pattern));
  Recorder recorder;
  SHOAL_ASSIGN(const auto measured, client->run(effort.clock, effort.limits(), recorder));
  client.reset();
  SHOAL_TRY(peer.finish());
  return measured;
}

Result<Measured> run_raw_beside(const RawPattern& pattern, const RawPattern& load,
                                const Effort& effort) {
  SHOAL_ASSIGN(const auto server, RawServer::create());
  SHOAL_ASSIGN(const auto load_server, RawServer::create());
  SHOAL_ASSIGN(auto peer, Child::start("raw peers", [&](Channel&) {
                 Status of_load;
                 std::thread beside([&] { of_load = load_server->serve(load); });
                 auto status = server->serve(pattern);
                 beside.join();
                 return status.ok() ? of_load : status;
               }));
  SHOAL_ASSIGN(auto load_client, RawClient::connect(load_server->port(), load));
  SHOAL_ASSIGN(auto client, RawClient::connect(server->port(), pattern));
  // Longer than what is measured: the load is there from the first to the last operation.
  auto load_limits = effort.limits();
  load_limits.duration += 2 * load_limits.warmup;
  Status of_load;
  std::thread beside([&] {
    Recorder unused;
    const auto done = load_client->run(effort.clock, load_limits, unused);
    if (!done.ok()) of_load = done.error();
  });
  Recorder recorder;
  const auto measured = client->run(effort.clock, effort.limits(), recorder);
  beside.join();
  load_client.reset();
  client.reset();
  SHOAL_TRY(of_load);
  SHOAL_TRY(peer.finish());
  return measured;
}

}  // namespace shoal::perf
