#include <algorithm>
#include <utility>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

thread_local Network* current_network = nullptr;
thread_local std::string current_host;

// The list that get_device_list() gave; its devices belong to the network.
ibv_device** list_devices(int* count) {
  std::vector<ibv_device*> found;
  if (current_network != nullptr)
    for (const auto& device : current_network->devices)
      if (device->options.host == current_host) found.push_back(device.get());
  if (count != nullptr) *count = static_cast<int>(found.size());
  auto** list = new ibv_device*[found.size() + 1]();
  std::copy(found.begin(), found.end(), list);
  return list;
}

void free_list(ibv_device** list) { delete[] list; }

const char* status_text(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_SUCCESS:
      return "success";
    case IBV_WC_LOC_LEN_ERR:
      return "local length error";
    case IBV_WC_LOC_PROT_ERR:
      return "local protection error";
    case IBV_WC_WR_FLUSH_ERR:
      return "Work Request Flushed Error";
    case IBV_WC_REM_INV_REQ_ERR:
      return "remote invalid request error";
    case IBV_WC_REM_ACCESS_ERR:
      return "remote access error";
    case IBV_WC_REM_OP_ERR:
      return "remote operation error";
    case IBV_WC_RETRY_EXC_ERR:
      return "transport retry counter exceeded";
    case IBV_WC_RNR_RETRY_EXC_ERR:
      return "RNR retry counter exceeded";
    default:
      return "another error of the software adapter";
  }
}

}  // namespace

SoftFabric::SoftFabric(const FabricOptions& options)
    : network_(std::make_unique<Network>(options)) {}

SoftFabric::~SoftFabric() {
  if (current_network == network_.get()) current_network = nullptr;
}

SoftDevice& SoftFabric::add_device(DeviceOptions options) {
  network_->devices.push_back(std::make_unique<SoftDevice>(*network_, std::move(options)));
  return *network_->devices.back();
}

SoftFabric::Current::Current(SoftFabric& fabric, std::string_view host)
    : before_(std::exchange(current_network, fabric.network_.get())),
      host_before_(std::exchange(current_host, std::string(host))) {}

SoftFabric::Current::~Current() {
  current_network = before_;
  current_host = host_before_;
}

Api SoftFabric::api() {
  Api api{.get_device_list = &list_devices,
          .free_device_list = &free_list,
          .wc_status_str = &status_text};
  fill_devices(api);
  fill_memory(api);
  fill_queues(api);
  fill_pairs(api);
  fill_posting(api);
  return api;
}

bool SoftFabric::step() { return network_->step(); }

bool SoftFabric::run(std::uint64_t units) {
  for (; units > 0; --units)
    if (!step()) return true;
  return false;
}

const Clock& SoftFabric::clock() const { return *network_; }
void SoftFabric::pass(Duration time) { network_->time += time; }
void SoftFabric::set_auto_step(unsigned units) { network_->options.auto_step = units; }
const std::vector<std::string>& SoftFabric::misuse() const { return network_->misuse; }

Counts SoftFabric::counts() const {
  Counts sum;
  for (const auto& device : network_->devices) {
    const auto& one = device->counts;
    sum.requests += one.requests;
    sum.signalled += one.signalled;
    sum.inlined += one.inlined;
    sum.send_doorbells += one.send_doorbells;
    sum.receives += one.receives;
    sum.receive_doorbells += one.receive_doorbells;
    sum.completions += one.completions;
    sum.polls += one.polls;
    sum.channel_events += one.channel_events;
    sum.packets += one.packets;
    sum.pinned_regions += one.pinned_regions;
    sum.paged_regions += one.paged_regions;
    sum.dma_buf_regions += one.dma_buf_regions;
  }
  return sum;
}

std::size_t SoftFabric::objects() const {
  const auto& all = *network_;
  return all.contexts.size() + all.pds.size() + all.regions.size() + all.channels.size() +
         all.queues.size() + all.shared_queues.size() + all.pairs.size();
}

std::uint32_t Network::fresh_key() {
  for (;;) {
    // Pair numbers have 24 bits, and these serve as both.
    const auto key = static_cast<std::uint32_t>(random.below(1u << 24));
    if (key > 1 && numbers_used.insert(key).second) return key;
  }
}

void Network::unplug(SoftQp& pair) {
  by_number.erase(pair.qp_num);
  pair.receiving.reset();
  pair.held.clear();
  pair.late = 0;
}

void Network::unplug(SoftMr& region) {
  by_lkey.erase(region.lkey);
  by_rkey.erase(region.rkey);
}

TimePoint Network::collect_sender(SoftQp& pair) {
  if (pair.queue.empty()) return kNever;
  const auto& head = pair.queue.front();
  auto later = kNever;
  const bool in_error = pair.attributes.qp_state == IBV_QPS_ERR;
  if (head.done || in_error) {
    if (head.ready_at <= time)
      units.push_back({&pair, Unit::Kind::retire});
    else
      later = head.ready_at;
  }
  if (in_error || pair.attributes.qp_state != IBV_QPS_RTS || is_parked(pair)) return later;
  const bool more = can_request(pair);
  if (!more && pair.reads == 0) return later;
  if (pair.wait_until > time) return std::min(later, pair.wait_until);
  if (more) units.push_back({&pair, Unit::Kind::request});
  if (pair.reads > 0) units.push_back({&pair, Unit::Kind::response});
  return later;
}

TimePoint Network::collect(SoftQp& pair) {
  if (pair.owner().dead) return kNever;
  auto later = collect_sender(pair);
  if (pair.held.empty()) return later;
  const auto ready_at = pair.held.front().ready_at;
  if (ready_at > time) return std::min(later, ready_at);
  units.push_back({&pair, Unit::Kind::receive});
  return later;
}

bool Network::step() {
  units.clear();
  auto later = kNever;
  for (const auto& pair : pairs) later = std::min(later, collect(*pair));
  if (units.empty()) {
    if (later == kNever) return false;
    time = later;
    return true;
  }
  const auto unit = units[random.below(units.size())];
  time += options.packet_time;
  switch (unit.kind) {
    case Unit::Kind::request:
      request(*unit.pair);
      break;
    case Unit::Kind::response:
      response(*unit.pair);
      break;
    case Unit::Kind::retire:
      retire(*unit.pair);
      break;
    case Unit::Kind::receive:
      deliver_held(*unit.pair);
      break;
  }
  return true;
}

}  // namespace shoal::verbs::test
