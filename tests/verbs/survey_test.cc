#include "transport/verbs/survey.h"

#include <gtest/gtest.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace shoal::verbs {
namespace {

struct FakePort {
  ibv_port_attr attributes{};
  std::map<std::uint32_t, ibv_gid_entry> gids;
  int query_error = 0;
  int gid_error = ENODATA;  // of indexes that hold nothing
};

struct FakeDevice {
  ibv_device device{};
  std::vector<FakePort> ports;
  int open_error = 0;
  int query_error = 0;
};

/// The machine that the fake library shows. The library's functions take no argument to hold it.
struct FakeMachine {
  std::vector<FakeDevice> devices;
  int list_error = 0;
  int lists = 0, contexts = 0;  // that are not given back
  int opened = 0;               // ever
};

FakeMachine* the_machine = nullptr;

FakeDevice& fake_of(const ibv_device* device) {
  for (auto& fake : the_machine->devices)
    if (&fake.device == device) return fake;
  std::abort();
}

ibv_device** list_fakes(int* count) {
  if (the_machine->list_error != 0) {
    errno = the_machine->list_error;
    return nullptr;
  }
  ++the_machine->lists;
  auto** list = new ibv_device*[the_machine->devices.size() + 1]();
  for (std::size_t i = 0; i < the_machine->devices.size(); ++i)
    list[i] = &the_machine->devices[i].device;
  *count = static_cast<int>(the_machine->devices.size());
  errno = EAGAIN;  // which says nothing after a success
  return list;
}

void free_fakes(ibv_device** list) {
  --the_machine->lists;
  delete[] list;
}

const char* name_of_fake(ibv_device* device) { return device->name; }

ibv_context* open_fake(ibv_device* device) {
  if (const int error = fake_of(device).open_error) {
    errno = error;
    return nullptr;
  }
  ++the_machine->opened;
  ++the_machine->contexts;
  auto* context = new ibv_context{};
  context->device = device;
  return context;
}

int close_fake(ibv_context* context) {
  --the_machine->contexts;
  delete context;
  return 0;
}

int query_fake_device(ibv_context* context, ibv_device_attr* attributes) {
  const auto& fake = fake_of(context->device);
  attributes->phys_port_cnt = static_cast<std::uint8_t>(fake.ports.size());
  return fake.query_error;
}

int query_fake_port(ibv_context* context, std::uint8_t port, ibv_port_attr* attributes) {
  const auto& fake = fake_of(context->device).ports.at(port - 1u);
  *attributes = fake.attributes;
  return fake.query_error;
}

int query_fake_gid(ibv_context* context, std::uint32_t port, std::uint32_t index,
                   ibv_gid_entry* entry) {
  const auto& fake = fake_of(context->device).ports.at(port - 1);
  const auto found = fake.gids.find(index);
  if (found == fake.gids.end()) return fake.gid_error;
  *entry = found->second;
  return 0;
}

ibv_gid gid_of(std::string_view prefix, std::uint8_t last) {
  ibv_gid gid{};
  if (prefix == "10.77.0.") {
    gid.raw[10] = gid.raw[11] = 0xff;
    gid.raw[12] = 10;
    gid.raw[13] = 77;
  } else if (prefix == "fe80::") {
    gid.raw[0] = 0xfe;
    gid.raw[1] = 0x80;
  } else {
    gid.raw[0] = 0xfd;  // fd00::
  }
  gid.raw[15] = last;
  return gid;
}

ibv_gid_entry entry_of(ibv_gid_type type, const ibv_gid& gid, std::uint32_t interface = 0) {
  ibv_gid_entry entry{};
  entry.gid = gid;
  entry.gid_type = type;
  entry.ndev_ifindex = interface;
  return entry;
}

FakePort port_of(std::uint8_t link_layer) {
  FakePort port;
  port.attributes.state = IBV_PORT_ACTIVE;
  port.attributes.link_layer = link_layer;
  port.attributes.active_mtu = IBV_MTU_1024;
  port.attributes.gid_tbl_len = 1024;
  port.attributes.active_speed = 32;
  port.attributes.active_width = 2;
  return port;
}

FakePort roce_port(std::map<std::uint32_t, ibv_gid_entry> gids) {
  auto port = port_of(IBV_LINK_LAYER_ETHERNET);
  port.gids = std::move(gids);
  return port;
}

FakePort good_port() {
  return roce_port({{1, entry_of(IBV_GID_TYPE_ROCE_V2, gid_of("10.77.0.", 1))}});
}

class Survey : public testing::Test {
 protected:
  Survey() { the_machine = &machine_; }
  ~Survey() override {
    EXPECT_EQ(machine_.lists, 0);
    EXPECT_EQ(machine_.contexts, 0);
    the_machine = nullptr;
  }

  FakeDevice& add(const std::string& name, std::vector<FakePort> ports) {
    auto& fake = machine_.devices.emplace_back();
    std::snprintf(fake.device.name, sizeof fake.device.name, "%s", name.c_str());
    std::snprintf(fake.device.dev_name, sizeof fake.device.dev_name, "uverbs0");
    fake.ports = std::move(ports);
    return fake;
  }

  std::vector<Finding> survey(std::string_view devices = {}, std::string_view interfaces = {}) {
    Api api;
    api.get_device_list = &list_fakes;
    api.free_device_list = &free_fakes;
    api.get_device_name = &name_of_fake;
    api.open_device = &open_fake;
    api.close_device = &close_fake;
    api.query_device = &query_fake_device;
    api.query_port = &query_fake_port;
    api.query_gid_ex = &query_fake_gid;
    return verbs::survey(api,
                         {NameFilter::parse(NameFilter::Kind::devices, devices).value(),
                          NameFilter::parse(NameFilter::Kind::interfaces, interfaces).value()});
  }

  /// What it finds, as people read it.
  std::string told(std::string_view devices = {}, std::string_view interfaces = {}) {
    std::string text;
    for (const auto& finding : survey(devices, interfaces)) text += to_string(finding) + "\n";
    return text;
  }

  /// The only port that there is.
  Port only_port() {
    const auto findings = survey();
    EXPECT_EQ(findings.size(), 1u);
    return findings.front().result.value();
  }

  /// The index of the GID that a RoCE port with these uses.
  std::uint32_t chosen(std::map<std::uint32_t, ibv_gid_entry> gids) {
    machine_.devices.clear();
    add("rxe0", {roce_port(std::move(gids))});
    return only_port().gid_index;
  }

  FakeMachine machine_;
};

bool says(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_F(Survey, ARocePortIsToldInALine) {
  const TempDir temporary;
  const auto path = temporary.path();
  std::filesystem::create_directories(path / "device");
  std::ofstream(path / "device" / "numa_node") << "1\n";
  auto& fake = add("rxe0", {good_port()});
  std::snprintf(fake.device.ibdev_path, sizeof fake.device.ibdev_path, "%s", path.c_str());
  EXPECT_EQ(told(), "rxe0 port 1 (RoCE v2 10.77.0.1, GID index 1, MTU 1024, 100 Gbit/s, NUMA 1)\n");
}

TEST_F(Survey, ARocePortHasAllThatConnectionsNeed) {
  const auto lo = ::if_nametoindex("lo");
  if (lo == 0) GTEST_SKIP() << "this network namespace has no loopback interface";
  const auto gid = gid_of("10.77.0.", 9);
  add("mlx5_0", {roce_port({{3, entry_of(IBV_GID_TYPE_ROCE_V2, gid, lo)}})});
  const auto port = only_port();
  EXPECT_EQ(port.device, "mlx5_0");
  EXPECT_EQ(port.number, 1);
  EXPECT_EQ(port.link_layer, LinkLayer::roce);
  EXPECT_EQ(port.gid_index, 3u);
  EXPECT_EQ(std::memcmp(&port.gid, &gid, sizeof gid), 0);
  EXPECT_EQ(port.gid_type, IBV_GID_TYPE_ROCE_V2);
  EXPECT_EQ(port.address, "10.77.0.9");
  EXPECT_EQ(port.interface, "lo");
  EXPECT_EQ(port.mtu_bytes, 1024u);
  EXPECT_EQ(port.gbit_per_s, 100);
  EXPECT_EQ(port.numa_node, -1);
}

TEST_F(Survey, AnInfinibandPortUsesItsFirstGid) {
  auto port = port_of(IBV_LINK_LAYER_INFINIBAND);
  port.attributes.active_mtu = IBV_MTU_4096;
  port.attributes.active_speed = 64;
  port.gids = {{0, entry_of(IBV_GID_TYPE_IB, gid_of("fe80::", 7))},
               {1, entry_of(IBV_GID_TYPE_IB, gid_of("fd00::", 7))}};
  add("mlx5_0", {port});
  EXPECT_EQ(told(), "mlx5_0 port 1 (InfiniBand fe80::7, GID index 0, MTU 4096, 200 Gbit/s)\n");
  EXPECT_EQ(told({}, "=no_such"), told()) << "it is on no network interface";
  EXPECT_EQ(only_port().link_layer, LinkLayer::infiniband);
}

TEST_F(Survey, WhatADeviceDoesNotSayIsLeftOut) {
  auto port = good_port();
  port.attributes.active_mtu = ibv_mtu(0);
  port.attributes.active_speed = 0;
  add("rxe0", {port});
  EXPECT_EQ(told(), "rxe0 port 1 (RoCE v2 10.77.0.1, GID index 1)\n");
}

TEST_F(Survey, SpeedIsThatOfAllLanes) {
  for (const auto& [speed, width, gbit] : {std::tuple{1, 1, 2.5},
                                           {4, 2, 40.0},
                                           {16, 2, 56.0},
                                           {128, 2, 400.0},
                                           {64, 16, 100.0},
                                           {32, 8, 300.0},
                                           {3, 2, 0.0},
                                           {32, 3, 0.0}}) {
    machine_.devices.clear();
    auto port = good_port();
    port.attributes.active_speed = static_cast<std::uint8_t>(speed);
    port.attributes.active_width = static_cast<std::uint8_t>(width);
    add("rxe0", {port});
    EXPECT_EQ(only_port().gbit_per_s, gbit) << speed << " " << width;
  }
}

TEST_F(Survey, RoceVersion2OfAnIpv4AddressIsPreferred) {
  constexpr auto kV1 = IBV_GID_TYPE_ROCE_V1;
  constexpr auto kV2 = IBV_GID_TYPE_ROCE_V2;
  const auto ipv4 = gid_of("10.77.0.", 1), link = gid_of("fe80::", 1), other = gid_of("fd00::", 1);
  EXPECT_EQ(chosen({{0, entry_of(kV1, link)},
                    {1, entry_of(kV2, link)},
                    {2, entry_of(kV1, ipv4)},
                    {3, entry_of(kV2, ipv4)},
                    {5, entry_of(kV2, ipv4)}}),
            3u);
  EXPECT_EQ(chosen({{0, entry_of(kV2, other)}, {1, entry_of(kV2, link)}, {7, entry_of(kV2, ipv4)}}),
            7u);
  EXPECT_EQ(chosen({{0, entry_of(kV2, other)}, {4, entry_of(kV2, link)}, {5, entry_of(kV2, link)}}),
            4u);
  EXPECT_EQ(
      chosen({{0, entry_of(kV1, ipv4)}, {2, entry_of(kV2, other)}, {3, entry_of(kV2, other)}}), 2u);
  EXPECT_EQ(only_port().address, "fd00::1");
}

TEST_F(Survey, EmptyGidsArePassedOver) {
  EXPECT_EQ(chosen({{0, entry_of(IBV_GID_TYPE_ROCE_V2, ibv_gid{})},
                    {6, entry_of(IBV_GID_TYPE_ROCE_V2, gid_of("fd00::", 1))}}),
            6u);
}

/// Address vectors have 8 bits for the index, and the table of an rxe device 1024 entries.
TEST_F(Survey, GidsThatConnectionsCannotNameArePassedOver) {
  constexpr auto kV2 = IBV_GID_TYPE_ROCE_V2;
  const auto far = entry_of(kV2, gid_of("10.77.0.", 1)), near = entry_of(kV2, gid_of("fd00::", 1));
  EXPECT_EQ(chosen({{255, far}, {256, far}}), 255u);
  EXPECT_EQ(chosen({{9, near}, {256, far}}), 9u) << "though the other is of an IPv4 address";
  auto port = roce_port({{256 + 9, far}, {1023, far}});
  port.gids[9] = entry_of(IBV_GID_TYPE_ROCE_V1, gid_of("10.77.0.", 2));
  machine_.devices.clear();
  add("rxe0", {port});
  EXPECT_EQ(told(),
            "rxe0 port 1: the port's first RoCE v2 GID that may be used has index 265, and "
            "connections can name none above 255: remove addresses from its network interface, or "
            "from others of the port\n");
}

TEST_F(Survey, APortWithoutRoceVersion2SaysWhatItHas) {
  add("mlx5_0", {roce_port({{0, entry_of(IBV_GID_TYPE_ROCE_V1, gid_of("fe80::", 1))},
                            {1, entry_of(IBV_GID_TYPE_ROCE_V1, gid_of("10.77.0.", 1))},
                            {2, entry_of(IBV_GID_TYPE_IB, gid_of("fe80::", 1))}}),
                 roce_port({})});
  const auto text = told();
  EXPECT_TRUE(says(text,
                   "mlx5_0 port 1: the port has no RoCE v2 GID, only 1 of InfiniBand, "
                   "2 of RoCE v1: enable RoCE v2"))
      << text;
  EXPECT_TRUE(says(text, "mlx5_0 port 2: the port has no GID: set its network interface up"))
      << text;
}

TEST_F(Survey, APortThatIsNotActiveSaysItsState) {
  const auto in_state = [](ibv_port_state state, std::uint8_t link_layer) {
    auto port = port_of(link_layer);
    port.attributes.state = state;
    return port;
  };
  add("mlx5_0", {in_state(IBV_PORT_DOWN, IBV_LINK_LAYER_ETHERNET),
                 in_state(IBV_PORT_DOWN, IBV_LINK_LAYER_INFINIBAND),
                 in_state(IBV_PORT_INIT, IBV_LINK_LAYER_INFINIBAND),
                 in_state(IBV_PORT_ARMED, IBV_LINK_LAYER_UNSPECIFIED),
                 in_state(IBV_PORT_ACTIVE_DEFER, IBV_LINK_LAYER_INFINIBAND),
                 in_state(IBV_PORT_NOP, IBV_LINK_LAYER_INFINIBAND)});
  const auto text = told();
  for (const auto* part : {"port 1: the port is down: set its network interface up",
                           "port 2: the port is down: is its cable",
                           "port 3: the port is initialized: does a subnet manager (opensm) run?",
                           "port 4: the port is armed", "port 5: the port has lost its link",
                           "port 6: the port is in state 0, not active"})
    EXPECT_TRUE(says(text, part)) << part << "\n" << text;
}

TEST_F(Survey, EveryPortOfEveryDeviceHasItsFinding) {
  auto down = good_port();
  down.attributes.state = IBV_PORT_DOWN;
  add("mlx5_0", {good_port(), down});
  add("mlx5_1", {good_port()});
  const auto findings = survey();
  ASSERT_EQ(findings.size(), 3u);
  EXPECT_TRUE(findings[0].result.ok());
  EXPECT_EQ(findings[1].device, "mlx5_0");
  EXPECT_EQ(findings[1].port, 2);
  EXPECT_EQ(findings[1].result.code(), Errc::unavailable);
  EXPECT_EQ(findings[2].result.value().device, "mlx5_1");
}

TEST_F(Survey, WhatTheFilterLeavesOutSaysSo) {
  add("mlx5_0", {good_port(), good_port()});
  add("rxe0", {good_port()});
  EXPECT_EQ(told("mlx5_0:2"),
            "mlx5_0 port 1: devices = 'mlx5_0:2' has no name that fits\n"
            "mlx5_0 port 2 (RoCE v2 10.77.0.1, GID index 1, MTU 1024, 100 Gbit/s)\n"
            "rxe0: devices = 'mlx5_0:2' has no name that fits\n");
  machine_.opened = 0;
  EXPECT_EQ(told("^mlx,rxe"),
            "mlx5_0: devices = '^mlx,rxe' leaves it out (^mlx)\n"
            "rxe0: devices = '^mlx,rxe' leaves it out (^rxe)\n");
  EXPECT_EQ(machine_.opened, 0);
}

TEST_F(Survey, InterfacesDecideAmongGids) {
  const auto lo = ::if_nametoindex("lo");
  if (lo == 0) GTEST_SKIP() << "this network namespace has no loopback interface";
  constexpr std::uint32_t kUnknown = 0;
  add("rxe0", {roce_port({{0, entry_of(IBV_GID_TYPE_ROCE_V2, gid_of("10.77.0.", 1), kUnknown)},
                          {1, entry_of(IBV_GID_TYPE_ROCE_V2, gid_of("10.77.0.", 2), lo)}})});
  EXPECT_TRUE(says(told(), "GID index 0"));
  EXPECT_TRUE(says(told({}, "=lo"), "10.77.0.2, GID index 1")) << told({}, "=lo");
  EXPECT_TRUE(says(told({}, "^lo"), "GID index 0"));
  machine_.devices.front().ports.front().gids.erase(0);
  EXPECT_EQ(told({}, "^lo"), "rxe0 port 1: interfaces = '^lo' leaves it out (^lo): lo\n");
}

TEST_F(Survey, FailingCallsAreToldWithTheirError) {
  auto blind = good_port();
  blind.query_error = EIO;
  auto mute = roce_port({});
  mute.gid_error = EPERM;
  add("a", {blind, mute});
  add("b", {}).open_error = EACCES;
  add("c", {good_port()}).query_error = EINVAL;
  add("d", {});
  add("e", {good_port()}).device.transport_type = IBV_TRANSPORT_IWARP;
  const auto text = told();
  for (const auto* part :
       {"a port 1: the port cannot be asked for its state (Input/output error)",
        "a port 2: GID 1023 of the port cannot be read (Operation not permitted)",
        "b: the device cannot be opened: may this user read and write /dev/infiniband/uverbs0? "
        "(Permission denied)",
        "c: the device cannot be asked what it is (Invalid argument)", "d: the device has no port",
        "e: the device is neither InfiniBand nor RoCE"})
    EXPECT_TRUE(says(text, part)) << part << "\n" << text;
  for (const auto& finding : survey()) EXPECT_EQ(finding.result.code(), Errc::unavailable);
}

TEST_F(Survey, AnUnreadableGidDoesNotHideAnother) {
  auto port = good_port();
  port.gid_error = EIO;
  add("rxe0", {port});
  EXPECT_EQ(only_port().gid_index, 1u);
}

TEST_F(Survey, AMachineWithoutDevicesSaysWhatToDo) {
  EXPECT_TRUE(says(told(), "no RDMA device: 'rdma link'")) << told();
  machine_.list_error = ENOSYS;
  EXPECT_TRUE(says(told(), "this kernel knows no RDMA: load its modules ('modprobe ib_uverbs'"))
      << told();
  machine_.list_error = EPERM;
  EXPECT_EQ(told(),
            "the RDMA devices of this machine cannot be listed (Operation not permitted)\n");
  const auto findings = survey();
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings.front().device, "");
  EXPECT_EQ(findings.front().result.error().native, EPERM);
}

}  // namespace
}  // namespace shoal::verbs
