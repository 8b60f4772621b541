#include "perf/bench/eager_path.h"

#include <algorithm>
#include <cstdlib>

#include "core/base/entropy.h"
#include "core/base/random.h"
#include "core/base/token.h"
#include "transport/loop.h"
#include "transport/open_transport.h"

namespace shoal::perf {

namespace {

constexpr EagerCase kCases[] = {
    {"pull/8B", false, false, 2},
    {"push/8B", true, false, 2},
    {"pull/4KiB", false, false, 1024},
    {"push/4KiB", true, false, 1024},
    {"sparse/pull/100", false, true, 100},
    {"sparse/push/100", true, true, 100},
    {"ucx/pull/8B", false, false, 2, "ucx"},
    {"ucx/push/8B", true, false, 2, "ucx"},
};

}  // namespace

std::span<const EagerCase> eager_cases() { return kCases; }

Result<std::unique_ptr<EagerPath>> EagerPath::create(const EagerCase& wanted) {
  std::unique_ptr<EagerPath> path(new EagerPath);
  path->case_ = &wanted;
  auto& config = path->config_;
  constexpr auto kNeverHere = std::chrono::hours(100);
  config.server_beat = config.worker_beat = kNeverHere;
  config.server_lease = config.worker_lease = 3 * kNeverHere;
  config.operation_timeout = kNeverHere;
  config.transports = wanted.transports;
  // Else UCX takes what it has for one process alone. What the user has set stays.
  if (config.transports == "ucx") ::setenv("UCX_TLS", "posix", 0);
  config.progress = Config::Progress::caller;
  SHOAL_ASSIGN(path->token_file_, TokenFile::create());
  config.token_file = path->token_file_.path();
  SHOAL_ASSIGN(path->scheduler_, SchedulerHost::start(config));
  config.scheduler = path->scheduler_->address().to_string();
  SHOAL_TRY(path->start_server());
  // While the worker waits for the cluster, somebody has to drive the server.
  SHOAL_ASSIGN(const auto loop,
               LoopThread::start("server", *path->server_, path->clock_, Duration::zero()));
  const auto opened = path->open();
  loop->stop();
  path->server_->release_loop();
  SHOAL_TRY(opened);
  return path;
}

EagerPath::~EagerPath() {
  table_ = {};
  values_ = {};
  worker_.reset();
  scheduler_.reset();  // before the server, so that it does not miss it
}

Status EagerPath::start_server() {
  SHOAL_ASSIGN(transport_, open_transport(config_, clock_));
  SHOAL_ASSIGN(const auto any, Address::parse("127.0.0.1:0"));
  SHOAL_ASSIGN(const auto address, transport_->listen(any));
  Server::Options options;
  options.link.scheduler = scheduler_->address();
  options.link.join.role = Role::server;
  options.link.join.incarnation = Incarnation(entropy());
  options.link.join.address = address.to_string();
  options.link.silence = config_.server_lease;
  options.link.token_source = token_source(config_);
  SHOAL_ASSIGN(server_, Server::create(*transport_, device_, rules_, std::move(options)));
  return {};
}

Status EagerPath::open() {
  SHOAL_ASSIGN(worker_, Worker::connect(config_));
  TableSpec spec{.name = "bench"};
  spec.staleness = unbounded;
  if (case_->sparse) {
    spec.layout = Layout::sparse;
    Random random(1);
    for (std::size_t i = 0; i < case_->rows; ++i) keys_.push_back(random.next());
    std::sort(keys_.begin(), keys_.end());
  } else {
    spec.rows = case_->rows;
  }
  SHOAL_ASSIGN(table_, worker_->create_or_open<float>(spec));
  SHOAL_ASSIGN(values_, worker_->allocate<float>(case_->rows));
  // Rows to pull, and a connection.
  const auto pushed = case_->sparse ? table_.push(keys_, values_).wait()
                                    : table_.push({0, case_->rows}, values_).wait();
  return pushed.ok() ? Status() : Status(pushed.error());
}

void EagerPath::turn() {
  server_->poll(clock_.now());
  worker_->progress();
}

Status EagerPath::run(std::uint64_t operations) {
  const RowRange rows{0, case_->rows};
  for (std::uint64_t i = 0; i < operations; ++i) {
    auto ticket = case_->sparse
                      ? case_->push ? table_.push(keys_, values_) : table_.pull(keys_, values_)
                  : case_->push ? table_.push(rows, values_)
                                : table_.pull(rows, values_);
    while (!ticket.ready()) server_->poll(clock_.now());
    const auto done = ticket.wait();
    if (!done.ok()) return done.error();
  }
  return {};
}

}  // namespace shoal::perf
