#include "worker/engine/region_cache.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <thread>
#include <utility>

namespace shoal {
namespace {

/// Registers memory as a device would, and moves nothing.
class PinningTransport final : public Transport {
 public:
  std::map<std::uint64_t, std::pair<MemoryView, Access>> regions;
  int registrations = 0;
  bool pinning = true;
  bool paging = false;  ///< of loans
  bool paging_fails = false;
  int paged = 0;
  std::size_t room = ~std::size_t{0};  ///< of locked memory

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& [id, region] : regions) sum += region.first.bytes;
    return sum;
  }
  std::string_view name() const override { return "pinning"; }
  Result<Address> listen(const Address& at) override { return at; }
  Result<EndpointId> connect(const Address&, TimePoint) override { return EndpointId(1); }
  void close(EndpointId) override {}
  std::string peer_of(EndpointId) const override { return {}; }
  std::string explain(EndpointId) const override { return {}; }
  bool pins() const override { return pinning; }
  bool pins_loans() const override { return pinning && !paging; }
  Result<Region> register_loan(MemoryView memory, Access access) override {
    if (paging && paging_fails) return Error{Errc::registration, "no paging"};
    if (paging) ++paged;
    return register_memory(memory, access);
  }
  Result<Region> register_memory(MemoryView memory, Access access) override {
    if (bytes() + memory.bytes > room) return Error{Errc::registration, "no room"};
    regions[++registrations] = {memory, access};
    return Region(this, static_cast<std::uint64_t>(registrations), memory);
  }
  Status send(EndpointId, const FrameHeader&, std::span<const std::byte>,
              std::span<const ConstMemoryView>, const SendOptions&) override {
    return {};
  }
  Status read(EndpointId, MemoryView, const RemoteSpan&, std::uint64_t) override { return {}; }
  Status write(EndpointId, ConstMemoryView, const RemoteSpan&, std::uint64_t) override {
    return {};
  }
  std::size_t poll(std::span<Event>) override { return 0; }
  void flush() override {}
  int wait_fd() const override { return -1; }
  bool arm() override { return true; }
  TimePoint next_timer() const override { return kNever; }

 private:
  RemoteSpan remote_span(std::uint64_t region, std::size_t offset,
                         std::size_t length) const override {
    return {region, offset, length};
  }
  void revoke(std::uint64_t region) override { regions.erase(region); }
};

constexpr std::size_t kBytes = std::size_t{64} << 10;

class RegionCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto monitor = MemoryMonitor::create(); !monitor.ok())
      GTEST_SKIP() << monitor.error().message();
    cache = std::make_unique<RegionCache>(transport, std::size_t{1} << 20);
  }
  void TearDown() override {
    cache.reset();
    for (const auto& memory : mapped) ::munmap(memory.data, memory.bytes);
    EXPECT_TRUE(transport.regions.empty());
  }
  MemoryView map(std::size_t bytes, std::byte* at = nullptr) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at != nullptr ? MAP_FIXED : 0);
    void* memory = ::mmap(at, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    EXPECT_NE(memory, MAP_FAILED);
    mapped.push_back({static_cast<std::byte*>(memory), bytes});
    return mapped.back();
  }
  /// A loan that a peer has confirmed the end of.
  RemoteSpan lend(MemoryView memory, Access access) {
    RegionCache::Loan loan;
    const auto span = cache->lend(loan, memory, access);
    EXPECT_TRUE(span.ok()) << span.error().message();
    cache->end(loan, true);
    return span.ok() ? *span : RemoteSpan{};
  }
  /// Registrations of three loans: of each that is not kept there is one.
  int three_times(MemoryView memory, Access access) {
    const int before = transport.registrations;
    for (int i = 0; i < 3; ++i) lend(memory, access);
    return transport.registrations - before;
  }

  /// Some loan registers nothing: not the third, if memory was changing at the second.
  bool stays(MemoryView memory, Access access) {
    for (int tries = 0; tries < 1000; ++tries) {
      const int before = transport.registrations;
      lend(memory, access);
      if (transport.registrations == before) return true;
      std::this_thread::yield();
    }
    return false;
  }

  PinningTransport transport;
  std::unique_ptr<RegionCache> cache;
  std::vector<MemoryView> mapped;
};

TEST_F(RegionCacheTest, WhatComesAgainStaysRegistered) {
  const auto memory = map(kBytes);
  lend(memory, Access::write);
  EXPECT_EQ(transport.regions.size(), 0u) << "once is not again";
  const auto whole = lend(memory, Access::write);
  EXPECT_EQ(transport.regions.size(), 1u);
  EXPECT_EQ(lend(memory, Access::write), whole);
  EXPECT_EQ(lend(memory.sub(4096, 100), Access::write), whole.sub(4096, 100)) << "a part of it";
  EXPECT_EQ(lend(memory, Access::read), whole) << "a target is a source, too";
  EXPECT_EQ(transport.registrations, 2);
  EXPECT_EQ(cache->kept_bytes(), kBytes);
}

TEST_F(RegionCacheTest, SourcesAreRegisteredToBeReadOnly) {
  const auto memory = map(kBytes);
  ASSERT_EQ(::mprotect(memory.data, memory.bytes, PROT_READ), 0);
  EXPECT_TRUE(stays(memory, Access::read));
  EXPECT_EQ(transport.regions.begin()->second.second, Access::read);
  ASSERT_EQ(::mprotect(memory.data, memory.bytes, PROT_READ | PROT_WRITE), 0);
  EXPECT_TRUE(stays(memory, Access::write));
  EXPECT_EQ(transport.regions.size(), 1u) << "what may be written serves for both";
  EXPECT_EQ(three_times(memory, Access::read), 0);
}

TEST_F(RegionCacheTest, AnotherMappingAtItsAddressIsOtherMemory) {
  const auto memory = map(kBytes);
  EXPECT_TRUE(stays(memory, Access::write));
  (void)map(4096, memory.data + 8192);
  EXPECT_TRUE(stays(memory, Access::write));
  ASSERT_EQ(::madvise(memory.data, 4096, MADV_DONTNEED), 0);
  EXPECT_EQ(three_times(memory, Access::write), 3) << "discarded: never again";
}

TEST_F(RegionCacheTest, WhatIsGoneIsLetGoOf) {
  const auto memory = map(kBytes);
  ASSERT_TRUE(stays(memory, Access::read));
  ASSERT_EQ(transport.regions.size(), 1u);
  ::munmap(memory.data, kBytes);
  while (!transport.regions.empty()) {  // the thread may have yet to say what it heard
    std::this_thread::yield();
    cache->sweep();
  }
  EXPECT_EQ(cache->kept_bytes(), 0u);
}

TEST_F(RegionCacheTest, WhatIsGoneDuringItsLoanGoesWithIt) {
  const auto memory = map(kBytes);
  ASSERT_TRUE(stays(memory, Access::read));
  RegionCache::Loan loan;
  ASSERT_TRUE(cache->lend(loan, memory, Access::read).ok());
  (void)map(kBytes, memory.data);
  cache->sweep();
  EXPECT_EQ(transport.regions.size(), 1u) << "lent";
  RegionCache::Loan other;
  const auto fresh = cache->lend(other, memory, Access::read);
  ASSERT_TRUE(fresh.ok());
  EXPECT_EQ(transport.regions.size(), 2u);
  cache->end(other, true);
  cache->end(loan, true);
  while (!transport.regions.empty()) {
    std::this_thread::yield();
    cache->sweep();
  }
}

TEST_F(RegionCacheTest, WithoutAWordOfThePeerARegistrationEndsWithItsLastLoan) {
  const auto memory = map(kBytes);
  ASSERT_TRUE(stays(memory, Access::write));
  RegionCache::Loan one, two;
  const auto first = cache->lend(one, memory, Access::write);
  EXPECT_EQ(*cache->lend(two, memory, Access::write), *first);
  cache->end(one, false);
  EXPECT_EQ(*cache->lend(two, memory, Access::write), *first) << "the other loan goes on";
  RegionCache::Loan three;
  EXPECT_NE(cache->lend(three, memory, Access::write)->region, first->region) << "for no new one";
  cache->end(two, true);
  EXPECT_FALSE(transport.regions.contains(first->region));
  cache->end(three, true);
  EXPECT_TRUE(stays(memory, Access::write)) << "and starts from the beginning";
}

TEST_F(RegionCacheTest, TheLeastRecentlyUsedGoesFirst) {
  std::vector<MemoryView> all;
  for (int i = 0; i < 16; ++i) all.push_back(map(kBytes));
  for (const auto& memory : all) EXPECT_TRUE(stays(memory, Access::read));
  EXPECT_EQ(cache->kept_bytes(), 16 * kBytes);
  lend(all[0], Access::read);
  RegionCache::Loan held;
  ASSERT_TRUE(cache->lend(held, all[1], Access::read).ok());
  const auto more = map(kBytes);
  EXPECT_TRUE(stays(more, Access::read));
  const auto before = transport.registrations;
  for (const auto i : {0u, 1u, 3u}) lend(all[i], Access::read);
  EXPECT_EQ(transport.registrations, before);
  lend(all[2], Access::read);
  EXPECT_EQ(transport.registrations, before + 1);
  cache->end(held, true);
  EXPECT_EQ(three_times(map(std::size_t{2} << 20), Access::read), 3) << "larger than all";
}

TEST_F(RegionCacheTest, MakesRoomForWhatMustBeRegistered) {
  transport.room = 4 * kBytes;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(stays(map(kBytes), Access::read));
  ASSERT_EQ(transport.bytes(), 4 * kBytes);
  const auto mine = map(3 * kBytes);
  auto region = cache->register_memory(mine, Access::read_write);
  EXPECT_TRUE(region.ok());
  EXPECT_EQ(cache->kept(), 1u);
  EXPECT_EQ(cache->register_memory(mine, Access::read).code(), Errc::registration);
  EXPECT_EQ(cache->kept(), 0u);
}

TEST_F(RegionCacheTest, KeepsNothingWhereNothingIsPinnedOrWanted) {
  const auto memory = map(kBytes);
  transport.pinning = false;
  EXPECT_EQ(three_times(memory, Access::read), 3);
  EXPECT_EQ(cache->explain(), "");
  transport.pinning = true;
  cache = std::make_unique<RegionCache>(transport, 0);
  EXPECT_EQ(three_times(memory, Access::read), 3);
  EXPECT_NE(cache->explain().find("registration_cache_bytes = 0"), std::string::npos);
}

/// What is not pinned is whatever is at the address: nothing has to be watched.
TEST_F(RegionCacheTest, WhatIsPagedOnDemandStaysRegisteredWhateverItIs) {
  transport.paging = true;
  const auto memory = map(kBytes);
  EXPECT_EQ(three_times(memory, Access::write), 2);
  EXPECT_EQ(transport.paged, 2);
  (void)map(kBytes, memory.data);
  cache->sweep();
  EXPECT_EQ(three_times(memory, Access::write), 0);
  transport.paging_fails = true;
  EXPECT_EQ(three_times(map(kBytes), Access::write), 3) << "pinned, then, for each loan";
}

TEST_F(RegionCacheTest, MemoryOfAFileIsRegisteredForEachLoan) {
  const int file = ::memfd_create("cache", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, static_cast<::off_t>(kBytes)), 0);
  void* shared = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ASSERT_NE(shared, MAP_FAILED);
  EXPECT_EQ(three_times({static_cast<std::byte*>(shared), kBytes}, Access::write), 3);
  ::munmap(shared, kBytes);
  ::close(file);
}

/// Loans of memory that another thread maps anew all the time: what is lent is never what was
/// registered before it was mapped.
TEST_F(RegionCacheTest, NeverWhatWasRegisteredBefore) {
  // Where nobody else maps anything: a stack in the hole would keep the loop below waiting.
  auto* const far = reinterpret_cast<std::byte*>(0x7ea000000000);
  const auto memory = map(kBytes, far);
  for (int round = 0; round < 300; ++round) {
    lend(memory, Access::write);
    lend(memory, Access::write);
    const auto registered = transport.registrations;
    std::thread other([&] { ::munmap(memory.data, memory.bytes); });
    while (::mmap(memory.data, kBytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != memory.data)
      std::this_thread::yield();
    const auto span = lend(memory, Access::write);
    EXPECT_GT(span.region, static_cast<std::uint64_t>(registered)) << round;
    other.join();
  }
}

}  // namespace
}  // namespace shoal
