#include "transport/verbs/survey.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace shoal::verbs {

namespace {

Error unusable(std::string why, int error = 0) {
  return {Errc::unavailable, std::move(why), error};
}

bool is_ipv4(const ibv_gid& gid) {
  constexpr std::uint8_t kPrefix[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::equal(std::begin(kPrefix), std::end(kPrefix), gid.raw);
}

bool is_zero(const ibv_gid& gid) {
  return std::all_of(std::begin(gid.raw), std::end(gid.raw), [](auto byte) { return byte == 0; });
}

bool is_link_local(const ibv_gid& gid) { return gid.raw[0] == 0xfe && (gid.raw[1] & 0xc0) == 0x80; }

std::string interface_of(const ibv_gid_entry& entry) {
  char name[IF_NAMESIZE] = "";
  if (entry.ndev_ifindex != 0) ::if_indextoname(entry.ndev_ifindex, name);
  return name;
}

std::string_view name_of_type(std::uint32_t gid_type) {
  switch (gid_type) {
    case IBV_GID_TYPE_IB:
      return "InfiniBand";
    case IBV_GID_TYPE_ROCE_V1:
      return "RoCE v1";
    case IBV_GID_TYPE_ROCE_V2:
      return "RoCE v2";
    default:
      return "an unknown type";
  }
}

/// What to do about a port that is not active.
Error not_active(ibv_port_state state, LinkLayer link_layer) {
  switch (state) {
    case IBV_PORT_DOWN:
      return unusable(link_layer == LinkLayer::roce
                          ? "the port is down: set its network interface up ('rdma link' names it)"
                          : "the port is down: is its cable plugged in ('rdma link')?");
    case IBV_PORT_INIT:
    case IBV_PORT_ARMED:
      return unusable(fmt::format("the port is {}: does a subnet manager (opensm) run?",
                                  state == IBV_PORT_INIT ? "initialized" : "armed"));
    case IBV_PORT_ACTIVE_DEFER:
      return unusable("the port has lost its link and waits for it (active deferred)");
    default:
      return unusable(fmt::format("the port is in state {}, not active", static_cast<int>(state)));
  }
}

std::uint32_t bytes_of(ibv_mtu mtu) {
  return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 0;
}

/// InfiniBand Architecture Specification, volume 1, PortInfo: LinkSpeedActive and
/// LinkSpeedExtActive as verbs number them, and LinkWidthActive.
double gbit_per_s(std::uint8_t speed, std::uint8_t width) {
  constexpr std::pair<std::uint8_t, double> kLane[] = {{1, 2.5}, {2, 5},   {4, 10},  {8, 10},
                                                       {16, 14}, {32, 25}, {64, 50}, {128, 100}};
  constexpr std::pair<std::uint8_t, int> kLanes[] = {{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}};
  for (const auto& [lane, gbit] : kLane)
    for (const auto& [lanes, count] : kLanes)
      if (lane == speed && lanes == width) return gbit * count;
  return 0;
}

int numa_node_of(const ibv_device& device) {
  int node = -1;
  std::ifstream(std::string(device.ibdev_path) + "/device/numa_node") >> node;
  return node;
}

/// Frames need none: they go through memory of our own.
bool pages_on_demand(const Api& api, ibv_context* context) {
  ibv_device_attr_ex device{};
  if (api.query_device_ex == nullptr || api.query_device_ex(context, &device) != 0) return false;
  constexpr std::uint32_t kNeeded = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
  return (device.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
         (device.odp_caps.per_transport_caps.rc_odp_caps & kNeeded) == kNeeded;
}

/// The entries of a port's GID table that hold something.
Result<std::vector<ibv_gid_entry>> gids_of(const Api& api, ibv_context* context,
                                           std::uint8_t number, int length) {
  std::vector<ibv_gid_entry> gids;
  std::uint32_t failed_at = 0;
  int failure = 0;
  for (std::uint32_t index = 0; index < static_cast<std::uint32_t>(std::max(length, 0)); ++index) {
    ibv_gid_entry entry{};
    const int error = api.query_gid_ex(context, number, index, &entry);
    if (error == ENODATA || (error == 0 && is_zero(entry.gid))) continue;  // an empty one
    if (error != 0) {
      failed_at = index;
      failure = error;
      continue;
    }
    entry.gid_index = index;
    gids.push_back(entry);
  }
  if (gids.empty() && failure != 0)
    return unusable(fmt::format("GID {} of the port cannot be read", failed_at), failure);
  return gids;
}

/// Whether an address vector can name it: its index has 8 bits there, and tables may have 1024.
bool can_be_named(const ibv_gid_entry& entry) {
  return entry.gid_index <= std::numeric_limits<decltype(Port::gid_index)>::max();
}

/// "2 of RoCE v1, 1 of InfiniBand".
std::string types_of(const std::vector<ibv_gid_entry>& gids) {
  std::map<std::string_view, int> counts;
  for (const auto& entry : gids) ++counts[name_of_type(entry.gid_type)];
  std::string text;
  for (const auto& [name, count] : counts)
    text += fmt::format("{}{} of {}", text.empty() ? "" : ", ", count, name);
  return text;
}

Result<ibv_gid_entry> choose_roce_gid(const std::vector<ibv_gid_entry>& gids,
                                      const NameFilter& interfaces) {
  if (gids.empty())
    return unusable("the port has no GID: set its network interface up and give it an address");
  const auto rank = [](const ibv_gid_entry& entry) {
    return std::pair(is_ipv4(entry.gid) ? 0 : is_link_local(entry.gid) ? 1 : 2, entry.gid_index);
  };
  const ibv_gid_entry* best = nullptr;
  std::string left_out;
  std::optional<std::uint32_t> too_far;
  for (const auto& entry : gids) {
    if (entry.gid_type != IBV_GID_TYPE_ROCE_V2) continue;
    const auto interface = interface_of(entry);
    if (const auto why = interfaces.why_not(interface); !why.empty()) {
      if (left_out.empty())
        left_out = fmt::format("interfaces = {}: {}", why,
                               interface.empty() ? "an interface that is not known" : interface);
      continue;
    }
    if (!can_be_named(entry)) {
      if (!too_far) too_far = entry.gid_index;
      continue;
    }
    if (best == nullptr || rank(entry) < rank(*best)) best = &entry;
  }
  if (best != nullptr) return *best;
  if (too_far)
    return unusable(fmt::format(
        "the port's first RoCE v2 GID that may be used has index {}, and connections can name none "
        "above 255: remove addresses from its network interface, or from others of the port",
        *too_far));
  if (!left_out.empty()) return unusable(std::move(left_out));
  return unusable(fmt::format(
      "the port has no RoCE v2 GID, only {}: enable RoCE v2 on the device, and give its "
      "network interface an address",
      types_of(gids)));
}

Result<Port> survey_port(const Api& api, ibv_context* context, std::uint8_t number,
                         const Filters& filters) {
  const auto& device = *context->device;
  const std::string name = api.get_device_name(context->device);
  if (const auto why = filters.devices.why_not(name, number); !why.empty())
    return unusable("devices = " + why);
  ibv_port_attr attributes{};
  if (const int error = api.query_port(context, number, &attributes))
    return unusable("the port cannot be asked for its state", error);
  // Kernels before Ethernet had verbs say nothing.
  const auto link_layer =
      attributes.link_layer == IBV_LINK_LAYER_ETHERNET ? LinkLayer::roce : LinkLayer::infiniband;
  if (attributes.state != IBV_PORT_ACTIVE) return not_active(attributes.state, link_layer);

  const bool roce = link_layer == LinkLayer::roce;
  const int length = roce ? attributes.gid_tbl_len : std::min(attributes.gid_tbl_len, 1);
  SHOAL_ASSIGN(const auto gids, gids_of(api, context, number, length));
  ibv_gid_entry gid{};
  if (roce) {
    SHOAL_ASSIGN(gid, choose_roce_gid(gids, filters.interfaces));
  } else {
    if (gids.empty()) return unusable("the port has no GID at index 0: does a subnet manager run?");
    gid = gids.front();
  }
  return Port{.device = name,
              .number = number,
              .link_layer = link_layer,
              .gid_index = static_cast<std::uint8_t>(gid.gid_index),
              .gid = gid.gid,
              .gid_type = static_cast<ibv_gid_type>(gid.gid_type),
              .address = to_string(gid.gid),
              .interface = interface_of(gid),
              .mtu_bytes = bytes_of(attributes.active_mtu),
              .gbit_per_s = gbit_per_s(attributes.active_speed, attributes.active_width),
              .numa_node = numa_node_of(device),
              .pages_on_demand = pages_on_demand(api, context)};
}

void survey_device(const Api& api, ibv_device* device, const Filters& filters,
                   std::vector<Finding>& findings) {
  const std::string name = api.get_device_name(device);
  const auto whole = [&](Error why) { findings.push_back({name, 0, std::move(why)}); };
  if (const auto why = filters.devices.why_not(name); !why.empty())
    return whole(unusable("devices = " + why));
  if (device->transport_type != IBV_TRANSPORT_IB)
    return whole(unusable("the device is neither InfiniBand nor RoCE"));

  const auto close = [&](ibv_context* context) { api.close_device(context); };
  errno = 0;
  const std::unique_ptr<ibv_context, decltype(close)> context(api.open_device(device), close);
  if (const int error = errno; context == nullptr)
    return whole(unusable(fmt::format("the device cannot be opened: may this user read and write "
                                      "/dev/infiniband/{}?",
                                      device->dev_name),
                          error));
  ibv_device_attr attributes{};
  if (const int error = api.query_device(context.get(), &attributes))
    return whole(unusable("the device cannot be asked what it is", error));
  for (unsigned port = 1; port <= attributes.phys_port_cnt; ++port) {
    const auto number = static_cast<std::uint8_t>(port);
    findings.push_back({name, number, survey_port(api, context.get(), number, filters)});
  }
  if (attributes.phys_port_cnt == 0) whole(unusable("the device has no port"));
}

Error no_devices(int error) {
  if (error == ENOSYS)
    return unusable(
        "this kernel knows no RDMA: load its modules ('modprobe ib_uverbs', and the device's, as "
        "mlx5_ib, or rdma_rxe for RoCE in software)");
  if (error != 0) return unusable("the RDMA devices of this machine cannot be listed", error);
  return unusable(
      "this machine has no RDMA device: 'rdma link' shows those that the kernel has; is the "
      "device's module loaded (as in 'modprobe mlx5_ib')?");
}

}  // namespace

std::string to_string(const ibv_gid& gid) {
  char text[INET6_ADDRSTRLEN] = "";
  if (is_ipv4(gid))
    ::inet_ntop(AF_INET, gid.raw + 12, text, sizeof text);
  else
    ::inet_ntop(AF_INET6, gid.raw, text, sizeof text);
  return text;
}

std::string to_string(const Port& port) {
  std::string text = fmt::format("{} port {} ({} {}, GID index {}", port.device, port.number,
                                 name_of_type(port.gid_type), port.address, port.gid_index);
  if (port.mtu_bytes != 0) text += fmt::format(", MTU {}", port.mtu_bytes);
  if (port.gbit_per_s != 0) text += fmt::format(", {:g} Gbit/s", port.gbit_per_s);
  if (port.numa_node >= 0) text += fmt::format(", NUMA {}", port.numa_node);
  if (port.pages_on_demand) text += ", on-demand paging";
  return text + ")";
}

std::string to_string(const Finding& finding) {
  if (finding.result.ok()) return to_string(*finding.result);
  const auto& error = finding.result.error();
  auto why = error.native == 0 ? error.what
                               : fmt::format("{} ({})", error.what,
                                             std::generic_category().message(error.native));
  if (finding.device.empty()) return why;
  if (finding.port == 0) return fmt::format("{}: {}", finding.device, why);
  return fmt::format("{} port {}: {}", finding.device, finding.port, why);
}

std::vector<Finding> survey(const Api& api, const Filters& filters) {
  int count = 0;
  errno = 0;
  ibv_device** devices = api.get_device_list(&count);
  const int error = errno;
  if (devices == nullptr) return {{{}, 0, no_devices(error)}};
  const std::unique_ptr<ibv_device*, void (*)(ibv_device**)> list(devices, api.free_device_list);
  std::vector<Finding> findings;
  for (int i = 0; i < count; ++i) survey_device(api, devices[i], filters, findings);
  if (findings.empty()) findings.push_back({{}, 0, no_devices(0)});
  return findings;
}

}  // namespace shoal::verbs
