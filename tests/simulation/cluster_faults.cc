// What goes wrong in a run, and when.

#include <fmt/core.h>

#include "tests/simulation/cluster.h"

namespace shoal::simulation {

namespace {

/// For this long after the start faults happen; then the network is whole again.
constexpr Duration kFaultsFor = std::chrono::milliseconds(1500);
/// How long a fault goes on at most after it began, its leases and the deadlines behind it
/// included.
constexpr Duration kAftermath = std::chrono::seconds(8);
/// Workers and observers of one run, late ones included.
constexpr std::size_t kClientsMax = 8;

}  // namespace

bool Cluster::formed() const { return scheduler_ != nullptr && scheduler_->view()->formed; }

void Cluster::plan_faults() {
  const auto fault_count = random_.below(9);
  for (std::uint64_t i = 0; i < fault_count; ++i) {
    // Most of them early, when there is work to disturb.
    const auto when = random_.uniform();
    network_.at(network_.now() + Duration(static_cast<Duration::rep>(
                                     when * when * when * static_cast<double>(kFaultsFor.count()))),
                [this] { one_fault(); });
  }
  network_.at(network_.now() + kFaultsFor, [this] { end_faults(); });
}

void Cluster::one_fault() {
  const auto some_server = random_.below(servers_.size());
  const auto some_worker = random_.below(workers_.size());
  auto& server = *servers_[some_server];
  auto& worker = *workers_[some_worker];
  const auto later = [&](std::uint64_t ms_max) {
    return network_.now() + std::chrono::milliseconds(1 + random_.below(ms_max));
  };
  switch (random_.below(16)) {
    case 0:
    case 1:
    case 2:
      say(fmt::format("connections of worker {} and server {} drop", some_worker, some_server));
      return network_.drop_connections(worker.node, server.node);
    case 3: {
      say(fmt::format("worker {} and server {} are parted", some_worker, some_server));
      network_.partition(worker.node, server.node);
      return network_.at(later(800),
                         [this, a = worker.node, b = server.node] { network_.heal(a, b); });
    }
    case 4: {
      // The scheduler does not hear the server, which is alive: a false suspicion.
      say(fmt::format("server {} and the scheduler are parted", some_server));
      for (const auto node : {server.node, server.heart_node}) {
        network_.partition(node, scheduler_node_);
        network_.at(later(800), [this, node] { network_.heal(node, scheduler_node_); });
      }
      return;
    }
    case 5: {
      say(fmt::format("worker {} and the scheduler are parted", some_worker));
      for (const auto node : {worker.node, worker.heart_node}) {
        network_.partition(node, scheduler_node_);
        network_.at(later(2500), [this, node] { network_.heal(node, scheduler_node_); });
      }
      return;
    }
    case 6: {
      if (!server.up || network_.stopped(server.node)) return;
      say(fmt::format("server {} is stopped", some_server));
      stop_for(server, std::chrono::milliseconds(1 + random_.below(1500)));
      return;
    }
    case 7: {
      if (!worker.up || network_.stopped(worker.node)) return;
      say(fmt::format("worker {} is stopped", some_worker));
      worker.process->excuse();
      stop_for(worker, std::chrono::milliseconds(1 + random_.below(2000)));
      return;
    }
    case 8:
      // Before the first roster is complete a death only means that it never will be.
      return formed() ? crash_worker(some_worker) : void();
    case 9:
      return formed() && random_.chance(0.3) ? crash_server(some_server) : void();
    case 10:
      return scheduler_ != nullptr ? restart_scheduler() : void();
    case 11:
      if (workers_.size() < kClientsMax) {
        say("a late worker starts");
        start_worker(2 + static_cast<int>(random_.below(5)));
      }
      return;
    case 13:
      if (workers_.size() < kClientsMax) {
        say("an observer starts");
        start_worker(5 + static_cast<int>(random_.below(20)), Job::watch);
      }
      return;
    case 14:
    case 15:
      return stop_watcher();
    case 12:
      if (scheduler_ == nullptr || network_.stopped(scheduler_node_)) return;
      say("the scheduler is stopped");
      network_.stop(scheduler_node_);
      return network_.at(later(2000), [this] {
        if (network_.alive(scheduler_node_) && network_.stopped(scheduler_node_))
          network_.resume(scheduler_node_);
      });
    default:
      return;
  }
}

void Cluster::stop_for(const Machine& machine, Duration time) {
  for (const auto node : {machine.node, machine.heart_node}) {
    network_.stop(node);
    network_.at(network_.now() + time, [this, node] {
      if (network_.alive(node) && network_.stopped(node)) network_.resume(node);
    });
  }
}

/// An observer in the middle of a pull: what is sent to it stays pinned, and pushes need copies.
void Cluster::stop_watcher() {
  for (const auto& worker : workers_) {
    if (!worker->up || worker->process->role() != Role::observer) continue;
    if (!worker->process->in_the_middle() || network_.stopped(worker->node)) continue;
    say("an observer is stopped in the middle of a pull");
    worker->process->excuse();
    return stop_for(*worker, std::chrono::milliseconds(1 + random_.below(2000)));
  }
}

void Cluster::end_faults() {
  say("no more faults");
  network_.heal_all();
  ledger_.faults_over = true;
  ledger_.quiet_from = network_.now() + kAftermath;
}

}  // namespace shoal::simulation
