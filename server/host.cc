#include "server/host.h"

#include <fmt/core.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "core/base/entropy.h"
#include "core/base/log.h"
#include "core/base/token.h"
#include "core/trace/trace.h"
#include "server/attached_device.h"
#include "server/row_devices.h"
#include "server/scheduler/scheduler.h"
#include "server/scheduler/view_store.h"
#include "server/server.h"
#include "transport/loop.h"
#include "transport/open_transport.h"
#include "transport/scheduler_link.h"

namespace shoal {

namespace {

/// A server that has not joined says why: first after this long, then each time after four times
/// as long.
constexpr Duration kTellAfter = std::chrono::seconds(2);
constexpr int kTellSlower = 4;

/// On this machine alone.
bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// Whoever joins a cluster of several machines and gives them an address that means each itself.
void warn_of_loopback(const Address& listens, const Address& scheduler) {
  if (!is_loopback(listens.host) || is_loopback(scheduler.host)) return;
  log_warn(
      "server",
      "listens at {}, which only processes of this machine can reach, while the scheduler is at "
      "{}: give the address of this machine's interface (--listen 10.0.0.2:0, SHOAL_LISTEN)",
      listens.to_string(), scheduler.to_string());
}

/// Listens where the configuration says; `what` is the process that does, for messages.
Result<Address> listen(Transport& transport, const Config& config, std::string_view what) {
  SHOAL_ASSIGN(const auto wanted, Address::parse(config.listen));
  if (wanted.host == "0.0.0.0" || wanted.host == "::")
    return Error{
        Errc::invalid_argument,
        fmt::format("listen = '{}': others are told this address, so name the interface's own "
                    "(--listen 10.0.0.1:0)",
                    config.listen)};
  auto bound = transport.listen(wanted);
  if (bound.ok()) return bound;
  auto error = std::move(bound).error();
  error.what += fmt::format(
      "; the {}'s address is the option --listen (SHOAL_LISTEN), and port 0 takes "
      "a free port",
      what);
  return error;
}

/// Whether a server can work with what it is given, in the words of whoever gave it.
Status check_memory(const Config& config) {
  if (config.copy_bytes >= config.memory_budget)
    return Error{
        Errc::invalid_argument,
        fmt::format("copy_bytes = {} of memory_budget = {} leaves nothing for tables: the "
                    "budget holds the copies on write, too; raise memory_budget or lower "
                    "copy_bytes",
                    bytes_to_string(config.copy_bytes), bytes_to_string(config.memory_budget))};
  constexpr auto kLandingMin = 2 * ServerLimits::kPartBytesMax;
  if (config.landing_bytes < kLandingMin)
    return Error{Errc::invalid_argument,
                 fmt::format("landing_bytes = {} is less than the {} that two of the largest parts "
                             "of a push take: raise it",
                             bytes_to_string(config.landing_bytes), bytes_to_string(kLandingMin))};
  return {};
}

}  // namespace

// ---- Scheduler.

struct SchedulerHost::Parts {
  SteadyClock clock;
  std::unique_ptr<ViewStore> store;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<LoopThread> loop;  // stops first
  Address address;
  std::string waited_for;
};

SchedulerHost::SchedulerHost(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
SchedulerHost::~SchedulerHost() { parts_->loop.reset(); }
const Address& SchedulerHost::address() const { return parts_->address; }
const std::string& SchedulerHost::waited_for() const { return parts_->waited_for; }

Result<std::unique_ptr<SchedulerHost>> SchedulerHost::start(const Config& config) {
  auto parts = std::make_unique<Parts>();
  if (config.state_dir.empty()) {
    parts->store = std::make_unique<MemoryViewStore>();
  } else {
    SHOAL_ASSIGN(auto store, FileViewStore::open(config.state_dir));
    parts->store = std::make_unique<FileViewStore>(std::move(store));
  }
  SHOAL_ASSIGN(parts->transport, open_control_transport(config, parts->clock));
  SHOAL_ASSIGN(parts->address, listen(*parts->transport, config, "scheduler"));
  Scheduler::Options options;
  auto& membership = options.membership;
  membership.servers_expected = config.servers;
  membership.workers_expected = config.workers;
  // A little less, so that who joins hears what is missing before its own join_timeout.
  membership.form_timeout = config.join_timeout * 9 / 10;
  membership.server_beat = config.server_beat;
  membership.server_lease = config.server_lease;
  membership.worker_beat = config.worker_beat;
  membership.worker_lease = config.worker_lease;
  membership.lost_after = config.lost_after;
  membership.straggler_limit = config.straggler_limit;
  membership.open_timeout = config.operation_timeout * 2 / 3;
  SHOAL_ASSIGN(parts->scheduler,
               Scheduler::create(*parts->transport, options, *parts->store, parts->clock.now()));
  SHOAL_TRY(parts->scheduler->store(parts->clock.now()));
  parts->waited_for = parts->scheduler->waiting_for();
  SHOAL_ASSIGN(parts->loop, LoopThread::start("shoal-scheduler", *parts->scheduler, parts->clock,
                                              Duration::zero()));
  return std::unique_ptr<SchedulerHost>(new SchedulerHost(std::move(parts)));
}

// ---- Server.

/// The server as its loop runs it: starts the heart when it has joined, and tells other threads
/// when it cannot go on.
struct ServerHost::Parts final : Pollable {
  SteadyClock clock;
  std::optional<RowDevices> devices;
  Config config;
  Address address;
  std::unique_ptr<Trace> trace;  ///< null: nobody traces
  std::unique_ptr<Transport> own_transport, heart_transport;
  std::unique_ptr<AttachedDevice> host;  ///< memory that the transport moves
  std::unique_ptr<Server> server;
  std::unique_ptr<Heart> heart;
  std::unique_ptr<LoopThread> heart_loop, loop;
  Heart::Options heart_options;
  TimePoint join_until = kNever;
  TimePoint tell_at = kNever;  ///< while it has not joined
  Duration tell_after = kTellAfter;
  mutable std::mutex mutex;  // of `failed`: between the loop and who asks
  std::optional<Error> failed;
  std::atomic<bool> wants_to_leave{false};
  bool has_left = false;  // under `mutex`
  std::condition_variable left;

  bool poll(TimePoint now) override {
    if (wants_to_leave.load(std::memory_order_relaxed)) leave();
    const bool busy = server->poll(now);
    if (heart_loop == nullptr && server->node().value != 0) start_heart();
    if (!server->status().ok()) fail(server->status().error());
    if (heart_loop == nullptr && now >= tell_at) tell(now);
    if (heart_loop == nullptr && now >= join_until)
      fail({Errc::timed_out,
            fmt::format("could not join the cluster within {} (join_timeout): scheduler {}",
                        to_string(config.join_timeout), server->link().explain())});
    return busy;
  }
  TimePoint next_timer() const override {
    return heart_loop == nullptr ? std::min({server->next_timer(), join_until, tell_at})
                                 : server->next_timer();
  }
  Transport& transport() override { return *own_transport; }

  void tell(TimePoint now) {
    log_info("server", "has not joined yet, and keeps trying: scheduler {}",
             server->link().explain());
    tell_after *= kTellSlower;
    tell_at = deadline_after(now, tell_after);
  }
  void start_heart() {
    join_until = tell_at = kNever;
    heart_options.node = server->node();
    heart = std::make_unique<Heart>(*heart_transport, heart_options, server->turns());
    auto started = LoopThread::start("shoal-heart", *heart, clock, Duration::zero());
    if (!started.ok()) return fail(started.error());
    heart_loop = std::move(started).value();
    log_info("server", "joined as node {}, listening at {}", server->node().value,
             address.to_string());
  }
  void leave() {
    server->leave();
    // A scheduler that is started again finds out by itself: it tries our port.
    if (!server->left() && !server->link().port_refuses()) return;
    const std::lock_guard lock(mutex);
    has_left = true;
    left.notify_all();
  }
  void fail(const Error& error) {
    join_until = tell_at = kNever;
    const std::lock_guard lock(mutex);
    if (!failed) failed = error;
  }
};

ServerHost::ServerHost(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
ServerHost::~ServerHost() {
  parts_->loop.reset();
  parts_->heart_loop.reset();
}
const Address& ServerHost::address() const { return parts_->address; }
std::optional<Error> ServerHost::failure() const {
  const std::lock_guard lock(parts_->mutex);
  return parts_->failed;
}

void ServerHost::leave(Duration patience) {
  parts_->wants_to_leave = true;
  parts_->loop->wake();
  std::unique_lock lock(parts_->mutex);
  parts_->left.wait_for(lock, patience, [&] { return parts_->has_left; });
}

Result<std::unique_ptr<ServerHost>> ServerHost::start(const Config& config, const RuleSet& rules) {
  auto parts = std::make_unique<Parts>();
  if (config.scheduler.empty())
    return Error{Errc::invalid_argument,
                 "no scheduler address: --scheduler host:port, or SHOAL_SCHEDULER"};
  SHOAL_TRY(check_memory(config));
  SHOAL_ASSIGN(const auto scheduler, Address::parse(config.scheduler));
  parts->config = config;
  if (!config.trace.empty()) {
    SHOAL_ASSIGN(
        parts->trace,
        Trace::open(config.trace, config.name.empty() ? "server" : config.name, parts->clock));
  }
  SHOAL_ASSIGN(parts->devices, RowDevices::open(config, rules));
  SHOAL_ASSIGN(parts->own_transport, open_transport(config, parts->clock));
  SHOAL_ASSIGN(parts->heart_transport, open_control_transport(config, parts->clock));
  auto& devices = *parts->devices;
  auto* const pinned = devices.pinned();
  parts->host = std::make_unique<AttachedDevice>(pinned != nullptr ? *pinned : devices.rows(),
                                                 *parts->own_transport);
  SHOAL_ASSIGN(parts->address, listen(*parts->own_transport, config, "server"));

  Server::Options options;
  options.trace = parts->trace.get();
  options.link.scheduler = scheduler;
  options.link.join.role = Role::server;
  options.link.join.incarnation = Incarnation(entropy());
  options.link.join.name = config.name;
  options.link.join.address = parts->address.to_string();
  options.link.silence = config.server_lease;
  options.link.connect_timeout = config.connect_timeout;
  options.link.token_source = token_source(config);
  options.link.seed = entropy();
  options.limits.credits = config.credits;
  options.limits.parked_quota = config.parked_quota;
  options.limits.landing_bytes = config.landing_bytes;
  options.limits.memory_bytes = config.memory_budget;
  options.limits.lists_bytes = config.server_list_bytes;
  options.limits.copies_max =
      static_cast<std::uint32_t>(std::max<std::size_t>(1, config.copy_bytes / kSegmentBytes));
  parts->heart_options.scheduler = scheduler;
  parts->heart_options.role = Role::server;
  parts->heart_options.incarnation = options.link.join.incarnation;
  parts->heart_options.beat = config.server_beat;
  parts->heart_options.connect_timeout = config.connect_timeout;
  parts->join_until = deadline_after(parts->clock.now(), config.join_timeout);
  parts->tell_at = deadline_after(parts->clock.now(), kTellAfter);
  warn_of_loopback(parts->address, scheduler);
  if (pinned != nullptr) options.pinned = parts->host.get();
  auto& rows = pinned != nullptr ? devices.rows() : *parts->host;
  SHOAL_ASSIGN(parts->server,
               Server::create(*parts->own_transport, rows, devices.rules(), std::move(options)));
  SHOAL_ASSIGN(parts->loop, LoopThread::start("shoal-server", *parts, parts->clock, config.spin));
  return std::unique_ptr<ServerHost>(new ServerHost(std::move(parts)));
}

}  // namespace shoal
