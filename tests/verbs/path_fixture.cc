#include "tests/verbs/path_fixture.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace shoal::paths::test {

Process& PathTest::make(ProcessOptions options) {
  auto& its_network = options.network != nullptr ? *options.network : network;
  auto& process = *processes.emplace_back(std::make_unique<Process>());
  PathOptions made;
  made.tcp.token = contract::bytes_of("the cluster's token");
  made.fabric_required = options.fabric_required;
  made.missing = "verbs: this machine has no RDMA device";
  made.left_out = options.left_out;
  made.tcp.control = options.control;
  if (options.has_device && !options.control) {
    const auto host = std::to_string(++hosts_);
    options.device.host = host;
    for (std::size_t i = 0; i <= options.more_devices; ++i) {
      options.device.name = "soft" + host + (i == 0 ? "" : "_" + std::to_string(i));
      if (i < options.numa_nodes.size()) {
        sysfs.push_back(std::make_unique<TempDir>());
        options.device.sysfs = sysfs.back()->path();
        std::filesystem::create_directory(sysfs.back()->path() / "device");
        std::ofstream(sysfs.back()->path() / "device" / "numa_node") << options.numa_nodes[i];
      }
      process.devices.push_back(&its_network.add_device(options.device));
    }
    process.device = process.devices.front();
    const SoftFabric::Current current(its_network, host);
    auto fabric = create_fabric(options.api.value_or(SoftFabric::api()), options.filters, clock,
                                nullptr, options.exporter, options.numa)
                      .value();
    if (options.wrap) fabric = options.wrap(std::move(fabric));
    made.fabrics.push_back(std::move(fabric));
    if (options.spare)
      made.fabrics.push_back(
          options.spare(create_fabric(options.api.value_or(SoftFabric::api()), {}, clock).value()));
  }
  process.peer.node.transport = options.control ? tcp::create_tcp(made.tcp, clock).value()
                                                : create_paths(std::move(made), clock).value();
  process.address = process.transport().listen({"127.0.0.1", 0}).value();
  process.watched = tcp::Fd(::dup(process.transport().wait_fd()));
  return process;
}

bool PathTest::turn() {
  std::size_t events = 0;
  for (auto& process : processes)
    if (process->peer.node.transport) events += process->peer.poll();
  bool moved = false;
  for (auto* one : {&network, &elsewhere, extra})
    for (int i = 0; one != nullptr && i < 20 && one->step(); ++i) moved = true;
  clock.pass(std::chrono::microseconds(100));
  return moved || events > 0;
}

bool PathTest::until(const std::function<bool()>& done) {
  auto quiet_since = steady_.now();
  while (!done()) {
    if (turn()) {
      quiet_since = steady_.now();
      continue;
    }
    // The kernel has to move something.
    std::vector<pollfd> fds;
    for (const auto& process : processes) fds.push_back({process->watched.get(), POLLIN, 0});
    ::poll(fds.data(), fds.size(), 1);
    if (steady_.now() - quiet_since > std::chrono::seconds(10)) return done();
  }
  return true;
}

void PathTest::settle(int turns) {
  for (int quiet = 0; quiet < turns; ++quiet)
    if (turn()) quiet = 0;
}

bool PathTest::is_up(const Process& process, EndpointId endpoint) const {
  return std::any_of(process.peer.seen.begin(), process.peer.seen.end(), [&](const auto& what) {
    return (what.kind == Kind::connected || what.kind == Kind::accepted) &&
           what.endpoint == endpoint;
  });
}

std::pair<EndpointId, EndpointId> PathTest::connect(Process& from, Process& to) {
  const auto before = to.peer.accepted.size();
  const auto endpoint = from.transport().connect(to.address, soon()).value();
  EXPECT_TRUE(until([&] { return is_up(from, endpoint) && to.peer.accepted.size() > before; }))
      << "two peers do not connect";
  return {endpoint, to.peer.accepted.size() > before ? to.peer.accepted.back() : EndpointId{}};
}

Status PathTest::send(Process& from, EndpointId to, std::uint64_t number, std::size_t payload_bytes,
                      Lane lane) {
  FrameHeader header;
  header.kind = FrameKind::push;
  header.request = RequestId(number);
  const auto payload = contract::pattern(payload_bytes, number);
  const ConstMemoryView view(payload.data(), payload.size());
  // The fabrics copy; TCP would not.
  return from.transport().send(to, header, {}, {&view, payload_bytes == 0 ? 0u : 1u},
                               {.lane = lane, .copy_payload = payload_bytes <= (64u << 10)});
}

std::vector<std::uint64_t> PathTest::numbers(const Process& process, EndpointId endpoint) const {
  std::vector<std::uint64_t> found;
  for (const auto* message : process.peer.messages(endpoint))
    found.push_back(message->header.request.value);
  return found;
}

std::string PathTest::path_of(Process& a, Process& b) {
  const auto [at_a, at_b] = connect(a, b);
  EXPECT_TRUE(ping(a, at_a, b, at_b));
  auto text = a.transport().explain(at_a);
  a.transport().close(at_a);
  EXPECT_TRUE(until([&, end = at_b] { return b.peer.find_closed(end) != nullptr; }));
  return text;
}

bool PathTest::ping(Process& a, EndpointId at_a, Process& b, EndpointId at_b) {
  const auto number = ++pings_;
  for (const auto lane : {Lane::message, Lane::bulk})
    if (!send(a, at_a, number, 0, lane).ok() || !send(b, at_b, number, 0, lane).ok()) return false;
  const auto got = [&](const Process& process, EndpointId endpoint) {
    const auto all = numbers(process, endpoint);
    return std::count(all.begin(), all.end(), number) == 2;
  };
  return until([&] { return got(a, at_a) && got(b, at_b); });
}

}  // namespace shoal::paths::test
