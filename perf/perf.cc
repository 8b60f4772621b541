#include "perf/perf.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "core/base/token_file.h"
#include "perf/child.h"
#include "perf/host.h"
#include "perf/peer.h"
#include "perf/peer_link.h"
#include "perf/table_load.h"
#include "perf/transport_load.h"
#include "worker/worker.h"

namespace shoal::perf {

namespace {

constexpr std::size_t kDefaultMax = 64u << 20;
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

std::vector<std::size_t> sizes_of(const Plan& plan, Op op) {
  if (!plan.sizes.empty()) return plan.sizes;
  std::vector<std::size_t> sizes;
  const auto most = std::min(kDefaultMax, bytes_max(op));
  for (std::size_t bytes = 8; bytes <= most; bytes *= plan.all_sizes ? 2 : 8)
    sizes.push_back(bytes);
  if (sizes.back() != most) sizes.push_back(most);
  return sizes;
}

TableOp table_op(Op op) {
  switch (op) {
    case Op::push:
      return TableOp::push;
    case Op::pull:
      return TableOp::pull;
    case Op::onesided:
      return TableOp::onesided;
    default:
      return TableOp::push_pull;
  }
}

/// One measuring process, connected.
class Client {
 public:
  Client(const Plan& plan, Config config, const Clock& clock)
      : plan_(plan), config_(std::move(config)), clock_(clock) {}

  Status connect(const Address& peer) {
    SHOAL_ASSIGN(link_, PeerLink::connect(config_, clock_, peer));
    return {};
  }

  Result<Line> measure(Op op, std::size_t bytes) {
    if (op == Op::onesided && !link_->transport().one_sided(link_->endpoint()))
      return Error{Errc::unavailable,
                   fmt::format("one-sided pulls READ the server's memory by RDMA, and the path to "
                               "it has none: {}",
                               link_->transport().explain(link_->endpoint()))};
    if (is_table_op(op) && !worker_) SHOAL_TRY(join());
    Line line;
    line.op = op;
    line.bytes = bytes;
    line.path = link_->transport().explain(link_->endpoint());
    line.inflight = plan_.inflight != 0 ? plan_.inflight : default_inflight(bytes);
    // Half of there and back, as perftest has it, where the peer does to us what we do to it.
    const bool halved = op == Op::send || op == Op::write;
    SHOAL_ASSIGN(const auto single, run(op, bytes, 1, halved));
    line.latency = halved ? half_of(single.latency) : single.latency;
    double cpu = 0;
    SHOAL_ASSIGN(const auto many, run(op, bytes, line.inflight, plan_.both_ways, &cpu));
    line.loaded = many.latency;
    line.rate = many.rate;
    line.bytes_rate = many.bytes_rate;
    line.peak = many.peak;
    line.cpu_seconds_per_gib = cpu / (static_cast<double>(many.moved) / kGiB);
    return line;
  }

 private:
  /// A cluster in the peer's process, and this one a worker of it.
  Status join() {
    // A server that has no part in what is measured would only take a core from it.
    const bool serves = std::any_of(plan_.ops.begin(), plan_.ops.end(),
                                    [](Op op) { return is_table_op(op) && op != Op::onesided; });
    const auto wait = serves ? plan_.wait : Wait::block;
    SHOAL_ASSIGN(const auto meta,
                 link_->ask(Verb::cluster, Verb::started, [&](Writer& out) { out.put(wait); }));
    Reader in(meta);
    auto config = config_;
    config.scheduler = in.get_string(kMetaMax);
    SHOAL_TRY(in.finish("address of the peer's scheduler"));
    config.spin = spin_of(plan_.wait);
    SHOAL_ASSIGN(auto worker, Worker::connect(config));
    worker_.emplace(std::move(worker));
    return {};
  }

  /// `cpu` gets the processor seconds that both processes spend in it.
  Result<Measured> run(Op op, std::size_t bytes, std::uint32_t inflight, bool both_ways,
                       double* cpu = nullptr) {
    const auto timed = [&](auto&& load) -> Result<Measured> {
      SHOAL_ASSIGN(const auto before, used());
      SHOAL_ASSIGN(const auto measured, load());
      SHOAL_ASSIGN(const auto after, used());
      if (cpu != nullptr) *cpu = after - before;
      return measured;
    };
    if (is_table_op(op)) {
      SHOAL_ASSIGN(auto load, TableLoad::create(*worker_, fmt::format("perf {}", tables_++),
                                                {table_op(op), bytes, inflight, both_ways}));
      SHOAL_ASSIGN(const auto measured,
                   timed([&] { return load.run(clock_, plan_.limits, recorder_); }));
      if (plan_.check) SHOAL_TRY(load.check());
      SHOAL_TRY(load.drop());
      return measured;
    }
    SHOAL_ASSIGN(const auto load,
                 TransportLoad::create(*link_, {op, plan_.wait, bytes, inflight, both_ways,
                                                plan_.check, plan_.told}));
    SHOAL_ASSIGN(const auto measured, timed([&] { return load->run(plan_.limits, recorder_); }));
    if (plan_.check) SHOAL_TRY(load->check());
    return measured;
  }

  Result<double> used() {
    SHOAL_ASSIGN(const auto peer, link_->peer_cpu_seconds());
    return peer + cpu_seconds();
  }

  static Latency half_of(Latency latency) {
    for (auto* value : {&latency.min, &latency.p50, &latency.p99, &latency.p999, &latency.max,
                        &latency.mean, &latency.stdev})
      *value /= 2;
    return latency;
  }

  const Plan& plan_;
  Config config_;
  const Clock& clock_;
  std::unique_ptr<PeerLink> link_;
  std::optional<Worker> worker_;  // leaves before the link ends, and the peer's cluster with it
  Recorder recorder_;
  unsigned tables_ = 0;
};

}  // namespace

Status validate(const Plan& plan) {
  if (plan.inflight > kInflightMax)
    return Error{Errc::out_of_range,
                 fmt::format("--inflight {}: at most {}", plan.inflight, kInflightMax)};
  for (const auto op : plan.ops)
    if (op == Op::onesided && plan.both_ways)
      return Error{Errc::invalid_argument,
                   "--bidirectional: 'onesided' has one way only: no pull is READ beside a push "
                   "of its own worker"};
  for (const auto op : plan.ops)
    for (const auto bytes : plan.sizes) {
      if (bytes == 0 || bytes > bytes_max(op))
        return Error{Errc::out_of_range,
                     fmt::format("--size {}: an operation '{}' has 1 to {}", bytes, name_of(op),
                                 bytes_to_string(bytes_max(op)))};
      if (is_table_op(op) && bytes % sizeof(float) != 0)
        return Error{Errc::invalid_argument,
                     fmt::format("--size {}: '{}' moves rows of 4 bytes", bytes, name_of(op))};
    }
  return {};
}

Result<std::vector<Line>> measure(const Plan& plan, const Config& config, const Address& peer,
                                  const Clock& clock,
                                  const std::function<void(const Line&)>& show) {
  SHOAL_TRY(validate(plan));
  Client client(plan, config, clock);
  SHOAL_TRY(client.connect(peer));
  std::vector<Line> lines;
  for (const auto op : plan.ops)
    for (const auto bytes : sizes_of(plan, op)) {
      SHOAL_ASSIGN(const auto line, client.measure(op, bytes));
      show(line);
      lines.push_back(line);
    }
  return lines;
}

Result<std::vector<Line>> measure_locally(const Plan& plan, Config config, const Clock& clock,
                                          const std::function<void(const Line&)>& show) {
  SHOAL_TRY(validate(plan));
  SHOAL_ASSIGN(const auto token, TokenFile::create());
  config.token_file = token.path();
  config.listen = "127.0.0.1:0";
  SHOAL_ASSIGN(auto child, Child::start("peer", [&](Channel& parent) -> Status {
                 SHOAL_ASSIGN(const auto peer, Peer::create(config, clock));
                 SHOAL_TRY(parent.send(peer->address().to_string()));
                 peer->run(true);
                 return {};
               }));
  SHOAL_ASSIGN(const auto text, child.receive());
  SHOAL_ASSIGN(const auto address, Address::parse(text));
  SHOAL_ASSIGN(auto lines, measure(plan, config, address, clock, show));
  SHOAL_TRY(child.finish());
  return lines;
}

}  // namespace shoal::perf
