#include <gtest/gtest.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "core/base/config.h"
#include "transport/ucx/devices.h"
#include "transport/ucx/ucx.h"
#include "transport/ucx/wire.h"

namespace shoal::ucx {
namespace {

TEST(UcxLoad, AMissingLibrarySaysWhatToInstall) {
  const auto api = load("libucp-of-nobody.so.0");
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.code(), Errc::unavailable);
  for (const auto* part : {"libucp-of-nobody.so.0", "1.12", "libucx0"})
    EXPECT_NE(api.error().what.find(part), std::string::npos) << api.error().what;
}

TEST(UcxLoad, AnotherLibraryIsNotTakenForIt) {
  const auto api = load("libc.so.6");
  ASSERT_FALSE(api.ok());
  EXPECT_NE(api.error().what.find("ucp_get_version"), std::string::npos) << api.error().what;
}

TEST(UcxLoad, AnOldOneIsRefusedByItsVersion) {
  const auto api = load(OLD_UCP);
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.code(), Errc::unavailable);
  for (const auto* part : {"1.11.2", "1.12 or newer"})
    EXPECT_NE(api.error().what.find(part), std::string::npos) << api.error().what;
}

TEST(UcxLoad, WhatItCannotUseIsSaid) {
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  SteadyClock clock;
  const auto fabric = create_fabric(*api, {.transports = "nonsense"}, clock);
  ASSERT_FALSE(fabric.ok());
  EXPECT_EQ(fabric.code(), Errc::unavailable);
  EXPECT_NE(fabric.error().message().find("UCX_TLS"), std::string::npos);
}

/// Of this process, while it lives: RLIMIT_NOFILE.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t descriptors) {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit limit{descriptors, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

  /// The number that the next descriptor has.
  static rlim_t next() {
    const int next = eventfd(0, EFD_CLOEXEC);
    close(next);
    return static_cast<rlim_t>(next);
  }

 private:
  rlimit before_{};
};

/// While it lives, a thread's stack is larger than all addresses: none begins, whoever asks.
class NoThreads {
 public:
  NoThreads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t attributes = before_;
    pthread_attr_setstacksize(&attributes, std::size_t{1} << 48);
    pthread_setattr_default_np(&attributes);
  }
  ~NoThreads() { pthread_setattr_default_np(&before_); }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t before_{};
};

/// Where UCX would end the process, or take from it what its sockets need.
class UcxWithoutMeans : public testing::Test {
 protected:
  void SetUp() override {
#ifdef SHOAL_SANITIZED
    GTEST_SKIP() << "a sanitizer needs descriptors and threads for its own checks";
#endif
    if (!api_.ok()) GTEST_SKIP() << api_.error().message();
  }
  template <class T>
  static void expect_refused(const Result<T>& result, std::string_view why) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.code(), Errc::unavailable);
    EXPECT_NE(result.error().what.find(why), std::string::npos) << result.error().what;
  }
  /// `what` gives a Result, which says that there are too few descriptors, or no thread.
  template <class F>
  void expect_refused(F&& what) {
    for (rlim_t few = 0; few < 16; ++few) {
      const DescriptorLimit limit(DescriptorLimit::next() + few);
      expect_refused(what(), "ulimit -n");
    }
    const NoThreads none;
    expect_refused(what(), "ulimit -u");
  }

  const Result<Api> api_ = load();
  SteadyClock clock_;
};

TEST_F(UcxWithoutMeans, ItIsNotUsed) {
  expect_refused([&] { return create_fabric(*api_, {}, clock_); });
}

/// Its thread does not live as long as the fabric: a link may start it anew.
TEST_F(UcxWithoutMeans, ThereIsNoLink) {
  const auto fabric = create_fabric(*api_, {.transports = "posix"}, clock_).value();
  const auto begin = [&] { return fabric->begin(EndpointId(1), fabric->offer()); };
  expect_refused(begin);
  EXPECT_TRUE(begin().ok());
}

TEST_F(UcxWithoutMeans, LinksLeaveHalfOfTheDescriptorsToSockets) {
  const auto fabric = create_fabric(*api_, {.transports = "posix"}, clock_).value();
  const auto half = DescriptorLimit::next() + 50;
  const DescriptorLimit limit(2 * half);
  std::uint64_t links = 0;
  for (;; ++links) {
    const auto link = fabric->begin(EndpointId(links + 1), fabric->offer());
    if (link.ok()) continue;
    expect_refused(link, "leaves half of them to sockets: raise the limit (ulimit -n)");
    break;
  }
  EXPECT_GT(links, 1u);
  EXPECT_LE(DescriptorLimit::next(), half);
  fabric->drop(EndpointId(1));
  std::array<Event, 1> events;
  const auto end = clock_.now() + std::chrono::seconds(10);
  const auto again = [&] {
    (void)fabric->poll(events);  // until UCX has let go of it
    return fabric->begin(EndpointId(1), fabric->offer()).ok();
  };
  bool free = again();
  while (!free && clock_.now() < end) free = again();
  EXPECT_TRUE(free) << "for whoever comes when another has gone";
}

/// Where UCX has no device that leads there, nothing is made and torn down for each peer.
TEST(UcxLoad, PeersOfOtherHostsAreLeftToTcpWhereNoDeviceLeadsThere) {
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  SteadyClock clock;
  for (const bool ours : {false, true})
    for (const bool theirs : {false, true}) {
      const auto fabric =
          create_fabric(*api, {.transports = "posix", .other_hosts = ours}, clock).value();
      auto offer = create_fabric(*api, {.transports = "posix", .other_hosts = theirs}, clock)
                       .value()
                       ->offer();
      EXPECT_TRUE(fabric->begin(EndpointId(1), offer).ok());
      offer.back() ^= std::byte{1};  // of the host's number
      EXPECT_EQ(fabric->begin(EndpointId(2), offer).code(),
                ours && theirs ? Errc::ok : Errc::out_of_range);
      offer.pop_back();
      EXPECT_EQ(fabric->begin(EndpointId(3), offer).code(), Errc::protocol);
    }
}

/// Of this process, and so of whatever it starts.
std::string environment() {
  std::string all;
  for (char** variable = environ; *variable != nullptr; ++variable)
    all += *variable + std::string("\n");
  return all;
}

/// In a process that has loaded nothing yet, since each test has its own.
TEST(UcxLoad, TheEnvironmentIsAsItWas) {
  ::setenv("UCX_LOG_LEVEL", "error", 1);
  const auto before = environment();
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  EXPECT_EQ(environment(), before);
  SteadyClock clock;
  const auto fabric = create_fabric(*api, {.transports = "posix,self"}, clock);
  EXPECT_TRUE(fabric.ok());
  EXPECT_EQ(environment(), before);
  EXPECT_TRUE(load().ok());
  EXPECT_EQ(environment(), before);
}

/// UCX's own handlers would print a stack and end the process in their way.
TEST(UcxLoad, SignalsStayOurs) {
  struct sigaction before {
  }, after{};
  ASSERT_EQ(::sigaction(SIGSEGV, nullptr, &before), 0);
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  ASSERT_EQ(::sigaction(SIGSEGV, nullptr, &after), 0);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

/// A tree like the kernel's, in a folder that goes with the test.
class UcxDevices : public testing::Test {
 protected:
  UcxDevices() {
    std::string name = (std::filesystem::temp_directory_path() / "ucx_sysfs_XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    for (const auto* interface : {"docker0", "eth0", "lo"})
      std::filesystem::create_directories(root_ / "class/net" / interface);
    add_port("mlx5_0", "1", "");
    add_port("mlx5_0", "2", "");
    add_port("rxe0", "1", "eth0");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void add_port(const std::string& device, const std::string& port, const std::string& interface) {
    const auto folder = root_ / "class/infiniband" / device / "ports" / port / "gid_attrs/ndevs";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "0") << interface << "\n";
  }
  Devices found(const std::string& devices, const std::string& interfaces) const {
    Config config;
    config.devices = NameFilter::parse(NameFilter::Kind::devices, devices).value();
    config.interfaces = NameFilter::parse(NameFilter::Kind::interfaces, interfaces).value();
    return survey(config, root_);
  }

  using Names = std::vector<std::string>;
  std::filesystem::path root_;
};

TEST_F(UcxDevices, AllWithoutFilters) {
  EXPECT_EQ(found("", "").taken,
            (Names{"mlx5_0:1", "mlx5_0:2", "rxe0:1", "docker0", "eth0", "lo"}));
}

TEST_F(UcxDevices, PortsAndInterfacesAreFiltered) {
  const auto devices = found("=mlx5_0:2,=rxe0", "eth0,^docker");
  EXPECT_EQ(devices.taken, (Names{"mlx5_0:2", "rxe0:1", "eth0"}));
  ASSERT_EQ(devices.left_out.size(), 3u);
  EXPECT_EQ(devices.left_out[0], "mlx5_0:1: '=mlx5_0:2,=rxe0' has no name that fits");
  EXPECT_EQ(devices.left_out[1], "docker0: 'eth0,^docker' leaves it out (^docker)");
}

TEST_F(UcxDevices, ARoceDeviceGoesWithItsInterface) {
  EXPECT_EQ(found("", "^eth0").taken, (Names{"mlx5_0:1", "mlx5_0:2", "docker0", "lo"}));
}

TEST_F(UcxDevices, ThatNoLinkCanPinMemoryForAreLeftOut) {
  auto devices = found("", "");
  EXPECT_FALSE(leave_out_ports(devices, std::nullopt));
  EXPECT_FALSE(leave_out_ports(devices, 64u << 20));
  EXPECT_TRUE(devices.left_out.empty());
  EXPECT_TRUE(leave_out_ports(devices, 8u << 20));
  EXPECT_EQ(devices.taken, (Names{"docker0", "eth0", "lo"}));
  ASSERT_EQ(devices.left_out.size(), 3u);
  EXPECT_EQ(devices.left_out[0].rfind("mlx5_0:1: a link pins 18432 KiB, and this process may lock "
                                      "8192 KiB of memory: raise that with 'ulimit -l unlimited'",
                                      0),
            0u)
      << devices.left_out[0];
  EXPECT_FALSE(leave_out_ports(devices, 8u << 20));
}

/// In a thread that has no capability, with a small limit.
TEST(UcxLoad, NoLinkIsMadeThatMayPinTooLittle) {
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
  auto low = limit;
  low.rlim_cur = 64u << 10;
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &low), 0);
  std::thread([&] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none{};
    ASSERT_EQ(syscall(SYS_capset, &header, none.data()), 0);
    SteadyClock clock;
    const auto makes = [&](bool pins) {
      const auto fabric =
          create_fabric(*api, {.transports = "posix,self", .pins = pins}, clock).value();
      const auto other = create_fabric(*api, {.transports = "posix,self"}, clock).value();
      return fabric->begin(EndpointId(1), other->offer());
    };
    EXPECT_TRUE(makes(false).ok());
    const auto refused = makes(true);
    EXPECT_EQ(refused.code(), Errc::unavailable);
    EXPECT_NE(refused.error().what.find("0 KiB are pinned, and this process may lock 64 KiB"),
              std::string::npos)
        << refused.error().what;
  }).join();
  setrlimit(RLIMIT_MEMLOCK, &limit);
}

TEST(UcxLoad, WhereNoDeviceIsLeftThereIsSharedMemory) {
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  Config config;
  config.interfaces = NameFilter::parse(NameFilter::Kind::interfaces, "=none").value();
  config.devices = NameFilter::parse(NameFilter::Kind::devices, "=none").value();
  EXPECT_EQ(options_of(config).network_devices, "");
  SteadyClock clock;
  EXPECT_TRUE(create_fabric(*api, options_of(config), clock).ok());
  const auto lines = describe(config);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1].rfind("no: no network device is left; shared memory is (left out: ", 0), 0u)
      << lines[1];
  EXPECT_NE(lines[1].find("lo: '=none' has no name that fits"), std::string::npos) << lines[1];
}

TEST(UcxLoad, DescribesOrSaysWhyNot) {
  const auto lines = describe(Config{});
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find(load().ok() ? "moves host memory" : "1.12 or newer"), std::string::npos)
      << lines[0];
}

TEST(UcxLoad, WhichMemoryItMovesAndWhyNoMore) {
  constexpr std::uint64_t kHost = 1u << UCS_MEMORY_TYPE_HOST, kCuda = 1u << UCS_MEMORY_TYPE_CUDA;
  EXPECT_EQ(memory_left_out(kHost), "CUDA memory: this UCX was built without it");
  EXPECT_EQ(memory_left_out(kHost | kCuda),
            "CUDA memory: this UCX could, and Shoal does not ask it to");
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  const auto context = Context::create(*api, {.transports = "posix,self"}).value();
  EXPECT_TRUE(describe(Config{}).front().ends_with("moves host memory (no " +
                                                   memory_left_out(context->memory_types()) + ")"));
  // What it claims, it does.
  SteadyClock clock;
  const auto fabric = create_fabric(*api, {.transports = "posix,self"}, clock).value();
  std::vector<std::byte> bytes(64);
  const MemoryView of_gpu{bytes.data(), bytes.size(), MemorySpace::cuda, 0};
  EXPECT_EQ(fabric->expose(1, of_gpu, Access::read).code(), Errc::registration);
}

TEST(UcxLoad, LinksSayWhichDevicesWereFilteredOut) {
  const auto api = load();
  if (!api.ok()) GTEST_SKIP() << api.error().message();
  Config config;
  config.interfaces = NameFilter::parse(NameFilter::Kind::interfaces, "^lo").value();
  SteadyClock clock;
  const auto text =
      create_fabric(*api, options_of(config), clock).value()->explain_unused(EndpointId(1));
  EXPECT_NE(text.find("lo: '^lo' leaves it out"), std::string::npos) << text;
  EXPECT_TRUE(create_fabric(*api, options_of(Config{}), clock)
                  .value()
                  ->explain_unused(EndpointId(1))
                  .starts_with("CUDA memory: "));
}

/// As they travel.
TEST(UcxWire, PacketsAndCardsAreLittleEndianWithoutHoles) {
  const Packet packet{.secret = 0x0807060504030201,
                      .sequence = 0x0c0b0a09,
                      .kind = PacketKind::refuse,
                      .lane = Lane::bulk,
                      .region = 0x1817161514131211,
                      .offset = 0x201f1e1d1c1b1a19,
                      .bytes = 0x2827262524232221,
                      .read = 0x302f2e2d2c2b2a29};
  std::array<unsigned char, sizeof packet> bytes;
  std::memcpy(bytes.data(), &packet, sizeof packet);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const unsigned expected = i == 12              ? 5
                              : i == 13            ? 1
                              : i == 14 || i == 15 ? 0
                                                   : static_cast<unsigned>(i) + 1;
    EXPECT_EQ(bytes[i], expected) << i;
  }
  const LinkCard card{.secret = 0x100f0e0d0c0b0a09};
  std::array<unsigned char, sizeof card> of_card;
  std::memcpy(of_card.data(), &card, sizeof card);
  EXPECT_EQ(of_card[0], kWireVersion);
  for (std::size_t i = 8; i < of_card.size(); ++i) EXPECT_EQ(of_card[i], i + 1) << i;
}

}  // namespace
}  // namespace shoal::ucx
