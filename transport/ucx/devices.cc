#include "transport/ucx/devices.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>

#include "transport/pinned_memory.h"
#include "transport/ucx/limits.h"
#include "transport/ucx/ucx.h"

namespace shoal::ucx {

namespace {

namespace fs = std::filesystem;

/// Sorted; empty where there is no such folder.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

/// The interface under a port of RoCE; empty: there is none.
std::string interface_of(const fs::path& port) {
  for (const auto& index : names_in(port / "gid_attrs" / "ndevs")) {
    std::ifstream file(port / "gid_attrs" / "ndevs" / index);
    std::string name;
    if (file >> name) return name;
  }
  return {};
}

void add(Devices& found, std::string name, const std::string& why_not) {
  if (why_not.empty())
    found.taken.push_back(std::move(name));
  else
    found.left_out.push_back(fmt::format("{}: {}", name, why_not));
}

void add_port(Devices& found, const Config& config, const fs::path& ports,
              const std::string& device, const std::string& name) {
  std::uint8_t number = 0;
  if (std::from_chars(name.data(), name.data() + name.size(), number).ec != std::errc{}) return;
  auto why = config.devices.why_not(device, number);
  const auto interface = interface_of(ports / name);
  if (why.empty() && !interface.empty()) why = config.interfaces.why_not(interface);
  add(found, fmt::format("{}:{}", device, number), why);
}

bool is_port(const std::string& name) { return name.find(':') != std::string::npos; }

}  // namespace

bool leave_out_ports(Devices& devices, std::optional<std::uint64_t> pin_limit) {
  if (!pin_limit || *pin_limit >= kLinkPins) return false;
  const auto ports = std::stable_partition(devices.taken.begin(), devices.taken.end(),
                                           [](const auto& name) { return !is_port(name); });
  const bool any = ports != devices.taken.end();
  for (auto port = ports; port != devices.taken.end(); ++port)
    devices.left_out.push_back(fmt::format("{}: a link pins {} KiB, and {}", *port, kLinkPins >> 10,
                                           about_lock_limit(*pin_limit)));
  devices.taken.erase(ports, devices.taken.end());
  return any;
}

Devices survey(const Config& config, const fs::path& sysfs) {
  Devices found;
  const auto rdma = sysfs / "class" / "infiniband";
  for (const auto& device : names_in(rdma))
    for (const auto& port : names_in(rdma / device / "ports"))
      add_port(found, config, rdma / device / "ports", device, port);
  for (const auto& interface : names_in(sysfs / "class" / "net"))
    add(found, interface, config.interfaces.why_not(interface));
  return found;
}

Options options_of(const Config& config) {
  Options options;
  auto devices = survey(config);
  const bool filtered = !config.devices.text().empty() || !config.interfaces.text().empty();
  // Which devices the user tells UCX itself to use is the user's business.
  const bool limited = (filtered || std::getenv("UCX_NET_DEVICES") == nullptr) &&
                       leave_out_ports(devices, pin_limit());
  options.pins = std::any_of(devices.taken.begin(), devices.taken.end(), is_port);
  options.other_hosts = std::getenv("UCX_TLS") != nullptr || options.pins;
  if (filtered || limited) {
    options.network_devices = fmt::format("{}", fmt::join(devices.taken, ","));
    options.left_out = std::move(devices.left_out);
  }
  return options;
}

}  // namespace shoal::ucx
