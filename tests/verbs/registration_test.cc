#include "transport/verbs/registration.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include "tests/verbs/path_fixture.h"
#include "transport/verbs/rail.h"

// How memory comes to be registered: pinned, paged on demand, as a dma-buf; and what people are
// told where it cannot be.

namespace shoal::paths::test {
namespace {

constexpr std::size_t kBytes = 20'000;

class RegistrationTest : public PathTest {
 protected:
  static DeviceOptions paging() {
    DeviceOptions options;
    options.pages_on_demand = true;
    return options;
  }
  /// Of registrations, since the last time.
  struct Made {
    std::uint64_t pinned, paged, dma_bufs;
    bool operator==(const Made&) const = default;
  };
  Made made(const Process& process) {
    const auto& now = process.device->counts;
    const Made since{now.pinned_regions - before_.pinned_regions,
                     now.paged_regions - before_.paged_regions,
                     now.dma_buf_regions - before_.dma_buf_regions};
    before_ = now;
    return since;
  }
  /// What `b` WRITES to `a`'s region is in `memory`.
  void try_region(Process& a, EndpointId at_a, Process& b, EndpointId at_b, const Region& region,
                  const std::byte* memory) {
    const auto bytes = region.memory().bytes;
    auto sent = contract::pattern(bytes, ++writes_);
    ASSERT_TRUE(ping(a, at_a, b, at_b)) << "the key travels ahead";
    const auto view = all(sent);
    ASSERT_TRUE(b.transport().write(at_b, {view.data, bytes}, region.remote(), writes_).ok());
    ASSERT_TRUE(until([&] { return b.ended(Kind::write_done, writes_).has_value(); }));
    EXPECT_EQ(b.ended(Kind::write_done, writes_), Errc::ok);
    ASSERT_TRUE(ping(a, at_a, b, at_b));
    EXPECT_TRUE(std::equal(sent.begin(), sent.end(), memory));
  }

 private:
  Counts before_;
  std::uint64_t writes_ = 100;
};

/// Where the last registrations began, also those that failed, by their length.
std::map<std::size_t, std::vector<std::uintptr_t>> registered_at;

Api remembering() {
  registered_at.clear();
  auto api = SoftFabric::api();
  api.reg_mr = [](ibv_pd* pd, void* address, std::size_t bytes, int access) {
    registered_at[bytes].push_back(reinterpret_cast<std::uintptr_t>(address));
    return SoftFabric::api().reg_mr(pd, address, bytes, access);
  };
  return api;
}

/// Whether huge pages were asked for at an address; nothing: this kernel has none.
std::optional<bool> asks_for_huge_pages(std::uintptr_t address) {
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2)
      inside = begin <= address && address < end;
    if (inside && line.starts_with("VmFlags:"))
      return std::filesystem::exists("/sys/kernel/mm/transparent_hugepage/enabled")
                 ? std::optional(mentions(line + " ", " hg "))
                 : std::nullopt;
  }
  return std::nullopt;
}

TEST_F(RegistrationTest, PoolsLieInHugePages) {
  auto& a = make({.api = remembering()});
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  connect(a, make());
  connect(a, make());
  const auto slabs = registered_at[kReceivesPerSlab * kReceiveBytes];
  ASSERT_EQ(slabs.size(), 3u) << "one for each link, and no more is locked";
  EXPECT_EQ(slabs[0] % kHugePage, 0u);
  EXPECT_EQ(slabs[1], slabs[0] + kHugePage / 2);
  EXPECT_EQ(slabs[2] % kHugePage, 0u);
  // A frame that, with its header, wants more staging memory than half of one.
  ASSERT_TRUE(send(a, at_a, 1, kHugePage / 2).ok());
  const auto staging = registered_at[kHugePage];
  ASSERT_EQ(staging.size(), 1u);
  EXPECT_EQ(staging[0] % kHugePage, 0u);
  for (const auto address : {slabs[0], slabs[1], slabs[2], staging[0]})
    if (const auto asks = asks_for_huge_pages(address)) {
      EXPECT_TRUE(*asks) << address;
    }
  EXPECT_TRUE(ping(a, at_a, b, at_b));
}

/// What is left of a huge page is no worse for it.
TEST_F(RegistrationTest, ASlabThatCouldNotBeRegisteredIsTakenNextTime) {
  auto& a = make({.api = remembering()});
  auto& b = make();
  connect(a, b);
  a.device->fail_registrations(ENOMEM);
  auto& c = make();
  EXPECT_TRUE(mentions(path_of(a, c), "no faster path: verbs: registering 1048576 bytes"));
  a.device->fail_registrations(0);
  connect(a, c);
  connect(a, make());
  const auto slabs = registered_at[kReceivesPerSlab * kReceiveBytes];
  ASSERT_EQ(slabs.size(), 4u);
  EXPECT_EQ(slabs[1], slabs[0] + kHugePage / 2);
  EXPECT_EQ(slabs[2], slabs[1]);
  EXPECT_EQ(slabs[3] % kHugePage, 0u) << "the first of another huge page";
}

TEST_F(RegistrationTest, LoansArePagedWhereTheDeviceCan) {
  auto& a = make({.device = paging()});
  auto& b = make();
  const auto [end_a, end_b] = connect(a, b);
  EXPECT_FALSE(a.transport().pins_loans());
  EXPECT_TRUE(a.transport().pins()) << "what is attached";
  EXPECT_TRUE(b.transport().pins_loans());
  EXPECT_TRUE(mentions(a.transport().explain(end_a), "on-demand paging"));
  Bytes memory(kBytes);
  made(a);
  auto lent = a.transport().register_loan(all(memory), Access::write);
  ASSERT_TRUE(lent.ok()) << lent.error().message();
  EXPECT_EQ(made(a), (Made{0, 1, 0}));
  try_region(a, end_a, b, end_b, *lent, memory.data());
  auto own = a.transport().register_memory(all(memory), Access::write);
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(made(a), (Made{1, 0, 0})) << "what is to be used again and again is pinned";
  lent->revoke();
  own->revoke();
  made(b);
  auto pinned = b.transport().register_loan(all(memory), Access::read);
  ASSERT_TRUE(pinned.ok());
  EXPECT_EQ(made(b).paged, 0u);
}

TEST_F(RegistrationTest, OneDeviceThatCannotPagePins) {
  DeviceOptions half = paging();
  auto api = SoftFabric::api();
  api.query_device_ex = [](ibv_context* context, ibv_device_attr_ex* attributes) {
    const int error = SoftFabric::api().query_device_ex(context, attributes);
    attributes->odp_caps.per_transport_caps.rc_odp_caps &= ~IBV_ODP_SUPPORT_READ;
    return error;
  };
  auto& a = make({.device = half, .api = api});
  EXPECT_TRUE(a.transport().pins_loans()) << "READs need it, too";
  api.query_device_ex = nullptr;
  EXPECT_TRUE(make({.device = paging(), .api = api}).transport().pins_loans());
}

TEST_F(RegistrationTest, WhatMayNotBeLockedIsPagedOrRefused) {
  auto device = paging();
  device.memlock_bytes = std::size_t{8} << 20;
  auto& a = make({.device = device});
  auto& b = make();
  const auto [end_a, end_b] = connect(a, b);
  Bytes large(device.memlock_bytes);
  made(a);
  auto region = a.transport().register_memory(all(large), Access::write);
  ASSERT_TRUE(region.ok()) << region.error().message();
  EXPECT_EQ(made(a), (Made{0, 1, 0}));
  try_region(a, end_a, b, end_b, *region, large.data());
  EXPECT_TRUE(a.transport().attach(all(large)).ok());
  a.transport().detach(all(large));
  device.pages_on_demand = false;
  auto& c = make({.device = device});
  (void)connect(c, b);
  const auto refused = c.transport().register_memory(all(large), Access::write);
  EXPECT_EQ(refused.code(), Errc::registration);
  EXPECT_EQ(c.transport().attach(all(large)).code(), Errc::registration);
}

TEST_F(RegistrationTest, ErrorsSayWhatToDo) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &before), 0);
  auto& a = make();
  auto& b = make();
  (void)connect(a, b);
  Bytes memory(kBytes);
  const auto told = [&](int error) {
    a.device->fail_registrations(error);
    const auto region = a.transport().register_memory(all(memory), Access::write);
    a.device->fail_registrations(0);
    EXPECT_EQ(region.code(), Errc::registration);
    EXPECT_EQ(region.ok() ? 0 : region.error().native, error);
    return region.ok() ? std::string() : region.error().what;
  };
  rlimit low{std::min<rlim_t>(before.rlim_max, 64u << 10), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &low), 0);
  EXPECT_TRUE(mentions(told(ENOMEM), "this process may lock 64 KiB of memory")) << told(ENOMEM);
  EXPECT_TRUE(mentions(told(ENOMEM), "ulimit -l unlimited"));
  EXPECT_FALSE(mentions(told(EFAULT), "ulimit"));
  if (before.rlim_max == RLIM_INFINITY) {
    low.rlim_cur = RLIM_INFINITY;
    ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &low), 0);
    EXPECT_TRUE(mentions(told(ENOMEM), "as many regions as it can"));
  }
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &before), 0);
  EXPECT_TRUE(mentions(told(EFAULT), "not all of it is mapped, or writable"));
  EXPECT_TRUE(mentions(told(EINVAL), "no region of this size"));
  EXPECT_TRUE(mentions(told(EOPNOTSUPP), "cannot be pinned"));
  EXPECT_TRUE(mentions(told(EFAULT), "registering 20000 bytes with soft1"));
}

// --- Memory of a GPU: a file in its place, at addresses that nobody may touch.

class GpuTest : public RegistrationTest, public DmaBufExporter {
 protected:
  GpuTest() {
    EXPECT_EQ(::ftruncate(file_, static_cast<::off_t>(3 * kPage)), 0);
    mapped_ = static_cast<std::byte*>(
        ::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0));
  }
  ~GpuTest() override {
    ::munmap(mapped_, 3 * kPage);
    ::close(file_);
  }
  Result<DmaBuf> export_dma_buf(MemoryView memory) override {
    if (why_not_ != nullptr) return Error{Errc::unavailable, why_not_};
    ++exported_;
    return DmaBuf{::dup(file_), static_cast<std::uint64_t>(memory.data - gpu(0, 0).data)};
  }
  static MemoryView gpu(std::size_t offset, std::size_t bytes) {
    return {reinterpret_cast<std::byte*>(std::uintptr_t{0x7e00'0000'0000}) + offset, bytes,
            MemorySpace::cuda, 0};
  }

  static constexpr std::size_t kPage = 4096;
  const int file_ = ::memfd_create("gpu", MFD_CLOEXEC);
  std::byte* mapped_ = nullptr;
  const char* why_not_ = nullptr;
  int exported_ = 0;
};

TEST_F(GpuTest, IsRegisteredAsADmaBuf) {
  auto& a = make({.exporter = this});
  auto& b = make();
  const auto [end_a, end_b] = connect(a, b);
  made(a);
  auto region = a.transport().register_memory(gpu(4000, 5000), Access::write);
  EXPECT_EQ(region.code(), Errc::registration) << "TCP, too, would have to be able to";
  const auto view = gpu(4000, 5000);
  EXPECT_EQ(a.transport().read(end_a, view, RemoteSpan{1, 0, 5000}, 1).code(), Errc::ok)
      << "of a region that is not there";
  ASSERT_TRUE(until([&] { return a.ended(Kind::read_done, 1).has_value(); }));

  // What the CPU cannot move the device does, both ways.
  Bytes remote = contract::pattern(5000, 1);
  auto source = b.transport().register_memory(all(remote), Access::read_write);
  ASSERT_TRUE(source.ok());
  ASSERT_TRUE(ping(a, end_a, b, end_b));
  EXPECT_EQ(a.transport().read(end_a, view, source->remote(), 2).code(), Errc::registration)
      << "not attached";
  ASSERT_TRUE(a.transport().attach(view).ok());
  EXPECT_EQ(exported_, 1);
  EXPECT_EQ(made(a).dma_bufs, 1u);
  ASSERT_TRUE(a.transport().read(end_a, view, source->remote(), 3).ok());
  ASSERT_TRUE(until([&, at = &a] { return at->ended(Kind::read_done, 3).has_value(); }));
  EXPECT_EQ(a.ended(Kind::read_done, 3), Errc::ok);
  EXPECT_TRUE(std::equal(remote.begin(), remote.end(), mapped_ + 4000));
  std::fill(mapped_, mapped_ + 3 * kPage, std::byte{7});
  ASSERT_TRUE(
      a.transport().write(end_a, {view.data, view.bytes, view.space}, source->remote(), 4).ok());
  ASSERT_TRUE(until([&, at = &a] { return at->ended(Kind::write_done, 4).has_value(); }));
  ASSERT_TRUE(ping(a, end_a, b, end_b));
  EXPECT_EQ(std::count(remote.begin(), remote.end(), std::byte{7}), 5000);
  a.transport().detach(view);
}

TEST_F(GpuTest, ErrorsSayWhatIsMissing) {
  auto api = SoftFabric::api();
  api.reg_dmabuf_mr = nullptr;
  const auto told = [&](Process& process) {
    const auto status = process.transport().attach(gpu(0, 100));
    EXPECT_EQ(status.code(), Errc::registration);
    return status.ok() ? std::string() : status.error().what;
  };
  EXPECT_TRUE(mentions(told(make()), "nobody in this process exports"));
  EXPECT_TRUE(
      mentions(told(make({.api = api, .exporter = this})), "rdma-core has since version 34"));
  auto& a = make({.exporter = this});
  a.device->fail_registrations(EOPNOTSUPP);
  EXPECT_TRUE(mentions(told(a), "a kernel before 5.12, takes no dma-bufs")) << told(a);
  a.device->fail_registrations(0);
  why_not_ = "the driver exports no dma-bufs: version 515 or newer";
  EXPECT_TRUE(mentions(told(a), "memory of a GPU for soft3: the driver exports no dma-bufs"));
}

// --- Faulting in.

TEST(Populate, TouchesAllOfLargeMemory) {
  constexpr std::size_t kMapped = 4 * kPopulateBytes;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* mapped =
      ::mmap(nullptr, kMapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  auto* memory = static_cast<std::byte*>(mapped);
  const auto resident = [&](std::size_t from, std::size_t bytes) {
    std::vector<unsigned char> pages(kMapped / page);
    EXPECT_EQ(::mincore(memory, kMapped, pages.data()), 0);
    return std::all_of(pages.begin() + static_cast<std::ptrdiff_t>(from / page),
                       pages.begin() + static_cast<std::ptrdiff_t>((from + bytes) / page),
                       [](auto one) { return (one & 1) != 0; });
  };
  populate({memory, kPopulateBytes - 1}, true);
  EXPECT_FALSE(resident(0, kPopulateBytes)) << "small memory is left to the device";
  populate({memory + 100, kMapped - 200}, true);
  if (::madvise(memory, page, 23) != 0) GTEST_SKIP() << "this kernel cannot populate (before 5.14)";
  EXPECT_TRUE(resident(0, kMapped));
  ::munmap(memory + 2 * kPopulateBytes, page);
  populate({memory, kMapped}, true);  // a hole is the device's to complain of
  ::munmap(mapped, kMapped);
}

}  // namespace
}  // namespace shoal::paths::test
