#include "tests/simulation/cluster.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "server/engine/key_lists.h"

namespace shoal::simulation {

namespace {

constexpr std::uint16_t kSchedulerPort = 7000;
constexpr std::uint16_t kServerPort = 8000;
/// Until a run's work must be over, faults and all; far beyond what any seed needs.
constexpr Duration kRunLimit = std::chrono::seconds(120);
constexpr std::size_t kViolationsMax = 8;
constexpr Duration kSayAgain = std::chrono::seconds(1);

Membership::Options membership_options(std::uint32_t servers, std::uint32_t workers,
                                       const Mutation& mutation) {
  Membership::Options options;
  options.servers_expected = servers;
  options.workers_expected = workers;
  options.server_beat = std::chrono::milliseconds(50);
  options.server_lease = std::chrono::milliseconds(400);
  options.worker_beat = std::chrono::milliseconds(100);
  options.worker_lease = std::chrono::seconds(1);
  options.lost_after = std::chrono::seconds(3);
  options.open_timeout = std::chrono::seconds(8);
  options.join_at_global_clock = mutation.join_at_global_clock;
  return options;
}

SimOptions network_options(std::uint64_t seed) {
  Random random(seed ^ 0x6e6574);
  SimOptions options;
  options.seed = seed;
  options.link.straggle = random.chance(0.5) ? 0.01 : 0.1;
  options.keepalive = std::chrono::milliseconds(500);
  // Workers on their servers' hosts.
  options.reads_by_copy = seed % 4 == 3;
  options.reads_in_place = 0.7;
  return options;
}

ServerLimits small_limits(Random& random) {
  ServerLimits limits;
  limits.memory_bytes = std::uint64_t{64} << 20;
  limits.landing_bytes = ServerLimits::kPartBytesMax * 2;
  limits.waiting_bytes = ServerLimits::kPartBytesMax;
  limits.gather_bytes = kSegmentBytes * 4;
  limits.copies_max = 1 + static_cast<std::uint32_t>(random.below(8));
  limits.pushes_max = limits.pulls_max = 512;
  limits.writes_max = 256;
  limits.held_max = 64;
  // None, one or two, all.
  constexpr std::size_t kLists[] = {0, 2 * KeyLists::kListBytes + 40, std::size_t{1} << 20};
  limits.lists_bytes = kLists[limits.copies_max % 3];
  constexpr std::uint32_t kParts[] = {24, 96, 2048};  // a few pushes use up the first
  limits.parts_max = kParts[limits.copies_max / 3];
  limits.pins_per_peer = 1 + static_cast<std::uint32_t>(random.below(8));
  limits.credits = 2 + static_cast<std::uint32_t>(random.below(14));
  limits.parked_quota = 1 + static_cast<std::uint32_t>(random.below(16));
  limits.stall = std::chrono::milliseconds(20 + random.below(200));
  return limits;
}

}  // namespace

Cluster::Cluster(std::uint64_t seed, const Mutation& mutation, bool verbose)
    : seed_(seed),
      mutation_(mutation),
      verbose_(verbose),
      random_(seed * 0x9e3779b97f4a7c15ULL + 1),
      network_(network_options(seed)),
      driver_(network_) {
  ledger_.network = &network_;
  make_tables();
  const auto server_count = 1 + random_.below(3);
  expected_workers_ = 1 + static_cast<std::uint32_t>(random_.below(3));
  scheduler_node_ = network_.create_node("scheduler");
  for (std::uint64_t i = 0; i < server_count; ++i)
    servers_.push_back(std::make_unique<ServerMachine>());
  start_scheduler();
  for (std::size_t i = 0; i < servers_.size(); ++i) start_server(i);
  for (std::uint32_t i = 0; i < expected_workers_; ++i)
    start_worker(3 + static_cast<int>(random_.below(7)));
  if (random_.chance(0.4)) start_worker(10 + static_cast<int>(random_.below(30)), Job::watch);
  server_clock_seen_.resize(servers_.size());
  driver_.after_each([this] { check_invariants(); });
  plan_faults();
}

Cluster::~Cluster() {
  // Processes go before their transports, and those before the network.
  for (auto& worker : workers_) {
    driver_.detach(worker->node);
    driver_.detach(worker->heart_node);
    worker->process.reset();
    worker->heart.reset();
    worker->transport.reset();
    worker->heart_transport.reset();
  }
  for (auto& server : servers_) {
    driver_.detach(server->node);
    driver_.detach(server->heart_node);
    server->server.reset();
    server->heart.reset();
    server->transport.reset();
    server->heart_transport.reset();
  }
  driver_.detach(scheduler_node_);
  scheduler_.reset();
  scheduler_transport_.reset();
}

void Cluster::say(const std::string& what) {
  if (verbose_)
    std::printf("%10.3f ms  %s\n",
                static_cast<double>(network_.now().time_since_epoch().count()) / 1e6, what.c_str());
}

void Cluster::broken(std::string what) {
  say("BROKEN " + what);
  if (ledger_.violations.size() < kViolationsMax) ledger_.violations.push_back(std::move(what));
}

/// One table of each kind, small enough that a run takes milliseconds: a row is 32 bytes, a segment
/// a few rows.
void Cluster::make_tables() {
  const auto staleness = [&] {
    constexpr std::int64_t kBounds[] = {0, 1, 2, unbounded};
    return kBounds[random_.below(4)];
  };
  TableSpec dense;
  dense.name = "on_arrival";
  dense.dtype = DType::i64;
  dense.row_width = kColumns;
  dense.rows = 2 + random_.below(8);
  dense.segment_bytes = static_cast<std::uint32_t>(sizeof(RowValue) * (1 + random_.below(3)));
  dense.apply = Apply::on_arrival;
  dense.staleness = staleness();

  auto per_clock = dense;
  per_clock.name = "per_clock";
  per_clock.apply = Apply::per_clock;
  per_clock.staleness = static_cast<std::int64_t>(random_.below(3));

  auto collective = per_clock;
  collective.name = "collective";
  collective.apply = Apply::collective;
  collective.deterministic = random_.chance(0.5);

  auto sparse = dense;
  sparse.name = "sparse";
  sparse.layout = Layout::sparse;
  sparse.rows = 0;
  sparse.slots = 4;
  sparse.staleness = staleness();
  if (random_.chance(0.3)) {
    sparse.apply = Apply::per_clock;
    sparse.staleness = static_cast<std::int64_t>(random_.below(3));
  }
  // A third of the seeds has rows to be pulled one-sidedly while they change.
  auto asynchronous = dense;
  asynchronous.name = "asynchronous";
  asynchronous.staleness = unbounded;
  asynchronous.rows = 16;
  asynchronous.segment_bytes = 8 * sizeof(RowValue);
  for (auto& spec : {dense, per_clock, collective, sparse, asynchronous}) {
    if (spec.name == asynchronous.name && seed_ % 3 != 0) continue;
    const auto rows = spec.layout == Layout::sparse ? 0 : Geometry::rows_per_segment(spec);
    ledger_.specs.push_back(spec);
    ledger_.models.emplace_back(spec.name, spec.apply_mode(), rows);
  }
}

// ---- Processes.

void Cluster::start_scheduler() {
  scheduler_transport_ = network_.start(scheduler_node_);
  (void)scheduler_transport_->listen({"scheduler", kSchedulerPort}).value();
  Scheduler::Options options;
  options.membership =
      membership_options(static_cast<std::uint32_t>(servers_.size()), expected_workers_, mutation_);
  scheduler_ = Scheduler::create(*scheduler_transport_, options, store_, network_.now()).value();
  driver_.attach(scheduler_node_, *scheduler_);
}

/// The heart beats from the start in its own process; it has nobody to name before the join, so it
/// is attached by start_hearts().
void Cluster::start_server(std::size_t index) {
  auto& machine = *servers_[index];
  ++machine.generation;
  if (machine.generation == 1) {
    machine.node = network_.create_node(fmt::format("server{}", index));
    machine.heart_node = network_.create_node(fmt::format("server{}-heart", index));
  }
  const Address address{fmt::format("server{}", index), kServerPort};
  machine.transport = network_.start(machine.node);
  machine.heart_transport = network_.start(machine.heart_node);
  (void)machine.transport->listen(address).value();
  static const RuleSet rules = RuleSet::builtin();
  static HostDevice device;
  Server::Options options;
  options.link.scheduler = {"scheduler", kSchedulerPort};
  options.link.join = {Role::server, Incarnation(random_.next()), fmt::format("server {}", index),
                       address.to_string()};
  options.link.silence = std::chrono::milliseconds(400);
  options.link.seed = random_.next();
  options.limits = small_limits(random_);
  options.faults.forget_last = mutation_.forget_last;
  machine.server = Server::create(*machine.transport, device, rules, std::move(options)).value();
  machine.up = true;
  driver_.attach(machine.node, *machine.server);
}

void Cluster::start_worker(int rounds, Job job) {
  const auto index = static_cast<std::uint32_t>(workers_.size());
  auto& machine = *workers_.emplace_back(std::make_unique<WorkerMachine>());
  ledger_.gone.push_back(false);
  machine.node = network_.create_node(fmt::format("worker{}", index));
  machine.heart_node = network_.create_node(fmt::format("worker{}-heart", index));
  machine.transport = network_.start(machine.node);
  machine.heart_transport = network_.start(machine.heart_node);
  WorkerProcess::Plan plan;
  plan.index = index;
  plan.seed = random_.next();
  plan.rounds = rounds;
  plan.job = job;
  plan.engine.role = job == Job::train ? Role::worker : Role::observer;
  plan.engine.scheduler = {"scheduler", kSchedulerPort};
  plan.engine.incarnation = Incarnation(random_.next());
  plan.engine.name = fmt::format("worker {}", index);
  plan.engine.operations_max = 1024;  // never refused
  plan.engine.silence = std::chrono::seconds(1);
  plan.engine.seed = random_.next();
  plan.engine.faults.report_clock_early = mutation_.report_clock_early;
  plan.engine.faults.read_unchecked = mutation_.read_unchecked;
  constexpr std::size_t kEager[] = {0, 100, 16u << 10};
  plan.engine.eager_bytes_max = kEager[random_.below(3)];
  plan.engine.answer_bytes_max = kEager[random_.below(3)];
  constexpr std::size_t kPlans[] = {0, 200, 1u << 20};
  plan.engine.plan_keys_min = 1;
  plan.engine.plan_bytes_max = kPlans[plan.seed % 3];
  machine.process = std::make_unique<WorkerProcess>(ledger_, *machine.transport, network_.clock(),
                                                    std::move(plan));
  machine.up = true;
  driver_.attach(machine.node, *machine.process);
}

/// A heart is made when its process has joined.
void Cluster::start_hearts() {
  const auto start = [&](Machine& machine, Role role, NodeId node, Incarnation incarnation,
                         Duration beat) {
    if (machine.heart != nullptr || !machine.up || node.value == 0) return;
    Heart::Options options;
    options.scheduler = {"scheduler", kSchedulerPort};
    options.role = role;
    options.node = node;
    options.incarnation = incarnation;
    options.beat = beat;
    machine.heart = std::make_unique<Heart>(*machine.heart_transport, options, machine.turns);
    driver_.attach(machine.heart_node, *machine.heart);
  };
  for (auto& server : servers_) {
    if (!server->up || server->server->link().joined() == std::nullopt) continue;
    const auto* info = server->server->link().view()->find_node(server->server->node());
    if (info != nullptr)
      start(*server, Role::server, info->id, info->incarnation,
            server->server->link().joined()->beat);
  }
  for (auto& worker : workers_) {
    if (!worker->up || worker->process == nullptr) continue;
    auto& engine = worker->process->engine();
    if (engine.joined())
      start(*worker, worker->process->role(), engine.joined()->node, engine.incarnation(),
            engine.joined()->beat);
  }
}

/// Before its process goes.
void Cluster::count_reads(WorkerMachine& machine) {
  if (machine.process == nullptr) return;
  const auto counts = machine.process->engine().one_sided();
  shares_read_ += counts.reads;
  segments_again_ += counts.retries;
}

void Cluster::crash_worker(std::size_t index) {
  auto& machine = *workers_[index];
  if (!machine.up) return;
  say(fmt::format("worker {} is killed", index));
  for (const auto node : {machine.node, machine.heart_node}) {
    network_.crash(node);
    driver_.detach(node);
  }
  count_reads(machine);
  machine.process.reset();
  machine.heart.reset();
  machine.transport.reset();
  machine.heart_transport.reset();
  machine.up = false;
  machine.crashed = true;
  ledger_.gone[index] = true;
  for (auto& model : ledger_.models) model.worker_gone(static_cast<std::uint32_t>(index));
}

void Cluster::crash_server(std::size_t index) {
  auto& machine = *servers_[index];
  if (!machine.up) return;
  say(fmt::format("server {} is killed", index));
  ledger_.slots_may_be_lost = true;
  for (const auto node : {machine.node, machine.heart_node}) {
    network_.crash(node);
    driver_.detach(node);
  }
  machine.server.reset();
  machine.heart.reset();
  machine.transport.reset();
  machine.heart_transport.reset();
  machine.up = false;
}

void Cluster::restart_scheduler() {
  say("the scheduler is killed and restarted");
  network_.crash(scheduler_node_);
  driver_.detach(scheduler_node_);
  scheduler_.reset();
  scheduler_transport_.reset();
  network_.at(network_.now() + std::chrono::milliseconds(1 + random_.below(100)),
              [this] { start_scheduler(); });
}

// ---- Invariants.

void Cluster::check_invariants() {
  start_hearts();
  if (scheduler_ != nullptr) {
    const auto& view = *scheduler_->view();
    if (view.epoch != Epoch{} && view.epoch < epoch_seen_)
      broken(fmt::format("11: the scheduler's epoch fell to {}.{}", view.epoch.term,
                         view.epoch.number));
    epoch_seen_ = std::max(epoch_seen_, view.epoch);
    // A restarted scheduler knows G only as of its last view, and tells nobody until all reported.
    if (!scheduler_->recovering() && scheduler_->global_clock() < clock_seen_)
      broken(fmt::format("11: G fell from {} to {}", clock_seen_.value,
                         scheduler_->global_clock().value));
    clock_seen_ = std::max(clock_seen_, scheduler_->global_clock());
  }
  for (std::size_t i = 0; i < servers_.size(); ++i) {
    if (!servers_[i]->up || !servers_[i]->server->link().view()) continue;
    const auto clock = servers_[i]->server->link().global_clock();
    if (clock > clock_seen_)
      broken(fmt::format("11: server {} is at G {}, the scheduler at {}", i, clock.value,
                         clock_seen_.value));
    if (clock < server_clock_seen_[i]) broken(fmt::format("11: server {}'s G fell", i));
    server_clock_seen_[i] = clock;
  }
  follow_roster();
  for (auto& worker : workers_) {
    if (!worker->up) continue;
    for (auto& late : worker->process->overdue(network_.now())) broken(std::move(late));
  }
  for (const auto& violation : network_.violations()) broken("9: " + violation);
}

/// Who was dropped from the roster holds nobody back any more, whether or not it knows; and who is
/// in it is never cut off.
void Cluster::follow_roster() {
  if (scheduler_ == nullptr || !scheduler_->view()->formed) return;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (!workers_[i]->up) continue;
    auto& process = *workers_[i]->process;
    if (process.role() != Role::worker || !process.engine().joined()) continue;
    const auto* entry = scheduler_->view()->find_worker(process.engine().joined()->node);
    if (entry == nullptr) {
      ledger_.gone[i] = true;
    } else if (process.fenced()) {
      broken(fmt::format("7: worker {} is in the roster and was fenced", i));
    }
  }
}

bool Cluster::all_finished() const {
  if (!ledger_.violations.empty()) return true;
  if (!ledger_.faults_over) return false;
  return std::all_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return !worker->up || worker->process->finished(); });
}

/// When faults have stopped, every push and every admissible pull ends.
void Cluster::check_ended() {
  for (const auto& worker : workers_)
    if (worker->up && !worker->process->finished())
      broken("8: still at work long after the last fault: " + worker->process->state());
}

/// What is in the tables at the very end, read by an observer.
void Cluster::check_rows() {
  say("audit");
  start_worker(0, Job::audit);
  const auto& auditor = *workers_.back();
  driver_.run_while_not([&] { return auditor.process->finished(); },
                        network_.now() + std::chrono::seconds(20));
  if (!auditor.process->finished() && ledger_.violations.empty())
    broken("8: the tables cannot be read at the end: " + auditor.process->state());
}

/// For people: who is still at work, and with what.
void Cluster::say_who_works() {
  for (const auto& worker : workers_)
    if (worker->up && !worker->process->finished()) say(worker->process->state());
  network_.at(network_.now() + kSayAgain, [this] { say_who_works(); });
}

Outcome Cluster::run() {
  if (verbose_) network_.at(network_.now() + kSayAgain, [this] { say_who_works(); });
  driver_.run_while_not([this] { return all_finished(); }, network_.now() + kRunLimit);
  if (ledger_.violations.empty()) check_ended();
  if (ledger_.violations.empty()) check_rows();
  Outcome outcome;
  outcome.seed = seed_;
  outcome.violations = ledger_.violations;
  outcome.events = network_.events_handled();
  outcome.trace_hash = network_.trace_hash();
  outcome.pushes_applied = ledger_.pushes_applied;
  outcome.pulls_answered = ledger_.pulls_answered;
  for (auto& worker : workers_) count_reads(*worker);
  outcome.shares_read = shares_read_;
  outcome.segments_again = segments_again_;
  return outcome;
}

Outcome run_seed(std::uint64_t seed, const Mutation& mutation, bool verbose) {
  return Cluster(seed, mutation, verbose).run();
}

}  // namespace shoal::simulation
