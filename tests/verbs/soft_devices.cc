#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

ibv_port_attr default_port() {
  ibv_port_attr port{};
  port.state = IBV_PORT_ACTIVE;
  port.max_mtu = IBV_MTU_4096;
  port.active_mtu = IBV_MTU_4096;
  port.max_msg_sz = 1u << 30;
  port.pkey_tbl_len = 1;
  port.lid = 0;
  port.active_width = 2;
  port.active_speed = 16;
  port.phys_state = 5;  // LinkUp
  port.link_layer = IBV_LINK_LAYER_ETHERNET;
  return port;
}

ibv_gid_entry link_local_gid(std::uint32_t index, std::uint8_t number, ibv_gid_type type) {
  ibv_gid_entry entry{};
  entry.gid.raw[0] = 0xfe;
  entry.gid.raw[1] = 0x80;
  entry.gid.raw[15] = number;
  entry.gid_index = index;
  entry.gid_type = type;
  return entry;
}

/// The port of device number `number`, 1 to 254.
PortOptions roce_port(std::uint8_t number) {
  const std::array<std::uint8_t, 4> address{10, 0, 0, number};
  return {default_port(),
          {link_local_gid(0, number, IBV_GID_TYPE_ROCE_V1),
           link_local_gid(1, number, IBV_GID_TYPE_ROCE_V2),
           DeviceOptions::ipv4_gid(2, address, IBV_GID_TYPE_ROCE_V1),
           DeviceOptions::ipv4_gid(3, address, IBV_GID_TYPE_ROCE_V2)}};
}

const char* device_name(ibv_device* device) { return device->name; }

ibv_context* open_device(ibv_device* device) {
  auto& soft = static_cast<SoftDevice&>(*device);
  auto& all = soft.network->contexts;
  all.push_back(std::make_unique<SoftContext>(soft));
  return all.back().get();
}

int close_device(ibv_context* context) {
  auto& soft = static_cast<SoftContext&>(*context);
  auto& network = soft.network();
  if (soft.objects > 0) {
    // The kernel would destroy them, and the caller's handles would leak.
    network.complain("ibv_close_device with objects left");
    return EBUSY;
  }
  discard(network.contexts, &soft);
  return 0;
}

int query_device(ibv_context* context, ibv_device_attr* attributes) {
  *attributes = static_cast<SoftContext*>(context)->owner().options.attributes;
  return 0;
}

int query_device_ex(ibv_context* context, ibv_device_attr_ex* attributes) {
  *attributes = {};
  const auto& options = static_cast<SoftContext*>(context)->owner().options;
  attributes->orig_attr = options.attributes;
  if (!options.pages_on_demand) return 0;
  attributes->odp_caps.general_caps = IBV_ODP_SUPPORT;
  attributes->odp_caps.per_transport_caps.rc_odp_caps =
      IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
  return 0;
}

int query_port(ibv_context* context, std::uint8_t number, ibv_port_attr* attributes) {
  const auto* port = static_cast<SoftContext*>(context)->owner().find_port(number);
  if (port == nullptr) return EINVAL;
  *attributes = port->attributes;
  return 0;
}

int query_gid_ex(ibv_context* context, std::uint32_t number, std::uint32_t index,
                 ibv_gid_entry* entry) {
  const auto* port = static_cast<SoftContext*>(context)->owner().find_port(number);
  if (port == nullptr || index >= port->gids.size()) return EINVAL;
  const auto& raw = port->gids[index].gid.raw;
  if (std::all_of(std::begin(raw), std::end(raw), [](auto byte) { return byte == 0; }))
    return ENODATA;
  *entry = port->gids[index];
  return 0;
}

int* unacked_of(const ibv_async_event& event) {
  switch (event.event_type) {
    case IBV_EVENT_CQ_ERR:
      return &static_cast<SoftCq*>(event.element.cq)->async_unacked;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
      return &static_cast<SoftQp*>(event.element.qp)->async_unacked;
    default:
      return nullptr;
  }
}

int get_async_event(ibv_context* context, ibv_async_event* event) {
  auto& soft = static_cast<SoftContext&>(*context);
  if (soft.events.empty()) {
    if (soft.notice.blocks()) soft.network().complain("ibv_get_async_event would block for ever");
    return errno = EAGAIN, -1;
  }
  *event = soft.events.front();
  soft.events.erase(soft.events.begin());
  soft.notice.lower();
  if (auto* unacked = unacked_of(*event)) ++*unacked;
  return 0;
}

void ack_async_event(ibv_async_event* event) {
  if (auto* unacked = unacked_of(*event)) --*unacked;
}

}  // namespace

void fill_devices(Api& api) {
  api.get_device_name = &device_name;
  api.open_device = &open_device;
  api.close_device = &close_device;
  api.query_device = &query_device;
  api.query_device_ex = &query_device_ex;
  api.query_port = &query_port;
  api.query_gid_ex = &query_gid_ex;
  api.get_async_event = &get_async_event;
  api.ack_async_event = &ack_async_event;
}

Notice::Notice() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)) {
  SHOAL_ASSERT(fd_ >= 0, "no eventfd for the software adapter");
}

void Notice::raise() {
  const std::uint64_t one = 1;
  SHOAL_ASSERT(::write(fd_, &one, sizeof one) == static_cast<::ssize_t>(sizeof one), "eventfd");
}

void Notice::lower() {
  std::uint64_t one = 0;
  SHOAL_ASSERT(::read(fd_, &one, sizeof one) == static_cast<::ssize_t>(sizeof one), "eventfd");
}

bool Notice::blocks() const { return (::fcntl(fd_, F_GETFL) & O_NONBLOCK) == 0; }

ibv_device_attr DeviceOptions::default_attributes() {
  ibv_device_attr limits{};
  limits.max_mr_size = std::numeric_limits<std::uint64_t>::max();
  limits.page_size_cap = 0xfffff000;
  limits.max_qp = 1 << 16;
  limits.max_qp_wr = 1 << 16;
  limits.max_sge = static_cast<int>(kSgeMax);
  limits.max_sge_rd = static_cast<int>(kSgeMax);
  limits.max_cq = 1 << 16;
  limits.max_cqe = 32'767;
  limits.max_mr = 1 << 20;
  limits.max_pd = 1 << 16;
  limits.max_qp_rd_atom = 128;
  limits.max_qp_init_rd_atom = 128;
  limits.max_res_rd_atom = 1 << 20;
  limits.max_srq = 1 << 16;
  limits.max_srq_wr = 1 << 16;
  limits.max_srq_sge = 27;
  limits.max_pkeys = 1;
  limits.phys_port_cnt = 1;
  return limits;
}

ibv_gid_entry DeviceOptions::ipv4_gid(std::uint32_t index, std::array<std::uint8_t, 4> address,
                                      ibv_gid_type type) {
  ibv_gid_entry entry{};
  entry.gid.raw[10] = entry.gid.raw[11] = 0xff;
  std::copy(address.begin(), address.end(), &entry.gid.raw[12]);
  entry.gid_index = index;
  entry.gid_type = type;
  return entry;
}

SoftDevice::SoftDevice(Network& its_network, DeviceOptions its_options)
    : ibv_device{}, network(&its_network), options(std::move(its_options)) {
  node_type = IBV_NODE_CA;
  transport_type = IBV_TRANSPORT_IB;
  std::snprintf(ibv_device::name, sizeof ibv_device::name, "%s", options.name.c_str());
  std::snprintf(dev_name, sizeof dev_name, "uverbs%zu", network->devices.size());
  std::snprintf(ibdev_path, sizeof ibdev_path, "%s", options.sysfs.c_str());
  if (options.ports.empty())
    options.ports.push_back(roce_port(static_cast<std::uint8_t>(network->devices.size() + 1)));
  options.attributes.phys_port_cnt = static_cast<std::uint8_t>(options.ports.size());
  for (std::size_t i = 0; i < options.ports.size(); ++i) {
    auto& port = options.ports[i];
    port.attributes.gid_tbl_len = static_cast<int>(port.gids.size());
    for (std::size_t j = 0; j < port.gids.size(); ++j) {
      port.gids[j].gid_index = static_cast<std::uint32_t>(j);
      port.gids[j].port_num = static_cast<std::uint32_t>(i + 1);
    }
  }
}

PortOptions* SoftDevice::find_port(std::uint32_t number) {
  return number >= 1 && number <= options.ports.size() ? &options.ports[number - 1] : nullptr;
}

void SoftDevice::set_port_state(std::uint8_t number, ibv_port_state state) {
  auto* port = find_port(number);
  SHOAL_ASSERT(port != nullptr, "the device has no such port");
  const bool was_up = port->attributes.state == IBV_PORT_ACTIVE;
  const bool is_up = state == IBV_PORT_ACTIVE;
  port->attributes.state = state;
  port->attributes.phys_state = is_up ? 5 : 3;  // LinkUp, Disabled
  if (was_up == is_up) return;
  for (const auto& context : network->contexts)
    if (context->device == this)
      context->raise(is_up ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR, nullptr, number);
}

void SoftDevice::kill() {
  const auto ours = [this](const auto& object) { return object->context->device == this; };
  for (const auto& pair : network->pairs)
    if (ours(pair)) network->unplug(*pair);
  for (const auto& region : network->regions)
    if (ours(region)) network->unplug(*region);
  for (const auto& context : network->contexts)
    if (context->device == this) context->dead = true;
}

void SoftDevice::fail_registrations(int error, int after) {
  registration_error_ = error;
  registrations_left_ = after;
}

SoftContext::SoftContext(SoftDevice& its_device) : ibv_context{} {
  const auto api = SoftFabric::api();
  device = &its_device;
  ops.poll_cq = api.poll_cq;
  ops.req_notify_cq = api.req_notify_cq;
  ops.post_srq_recv = api.post_srq_recv;
  ops.post_send = api.post_send;
  cmd_fd = -1;
  async_fd = notice.fd();
  num_comp_vectors = 1;
}

void SoftContext::raise(ibv_event_type type, void* element, int port) {
  if (dead) return;
  ibv_async_event event{};
  event.event_type = type;
  if (element == nullptr)
    event.element.port_num = port;
  else
    std::memcpy(&event.element, &element, sizeof element);
  events.push_back(event);
  notice.raise();
}

void SoftContext::forget(const void* element) {
  std::erase_if(events, [&](const ibv_async_event& event) {
    if (unacked_of(event) == nullptr || event.element.qp != element) return false;
    notice.lower();
    return true;
  });
}

}  // namespace shoal::verbs::test
