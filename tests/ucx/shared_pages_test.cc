#include "transport/ucx/shared_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "transport/ucx/foreign_pages.h"

namespace shoal::ucx {
namespace {

constexpr std::uint64_t kShareRegion = 0x1'0000'0007, kSecret = 0x5ec4e7;
constexpr std::size_t kShareBytes = kSharedMin, kLink = 3;
constexpr std::byte kNew{9};

/// An owner, and a peer in the same process: mappings are mappings.
class SharedPagesTest : public testing::Test {
 protected:
  void SetUp() override {
    pages_ = SharedPages::create(kShareBytes).value();
    ASSERT_TRUE(pages_->take(kShareRegion));
    pages_->admit(kLink, ticket_of(kShareRegion, kSecret));
    auto peer = ForeignPages::open(pages_->card(pages_->memory()), kShareRegion, kLink, kSecret);
    ASSERT_TRUE(peer.ok()) << peer.error().message();
    peer_ = std::move(peer).value();
  }
  std::span<std::byte> own() const { return pages_->memory().host_span(); }
  bool write(std::uint64_t offset, std::size_t bytes) {
    return peer_->write(offset, std::vector<std::byte>(bytes, kNew));
  }
  std::size_t written() const {
    return static_cast<std::size_t>(std::count(own().begin(), own().end(), kNew));
  }
  /// As a peer leaves it that was stopped while it copies.
  void stand_inside(std::uint64_t offset, std::size_t bytes, std::uint64_t ticket,
                    std::size_t link = kLink) {
    auto& way = gate().turnstiles[link];
    way.inside = ticket;
    way.offset = offset;
    way.bytes = bytes;
  }
  /// The file from the outside: what a stopped peer still reaches.
  Gate& gate() { return *static_cast<Gate*>(outside()); }
  std::byte* outside_data() { return static_cast<std::byte*>(outside()) + kGateBytes; }
  void* outside() {
    if (outside_ == nullptr)
      outside_ = ::mmap(nullptr, kGateBytes + kShareBytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                        static_cast<int>(pages_->card(pages_->memory()).file), 0);
    return outside_;
  }
  void TearDown() override {
    if (outside_ != nullptr) ::munmap(outside_, kGateBytes + kShareBytes);
  }

  SteadyClock clock_;
  std::unique_ptr<SharedPages> pages_;
  std::unique_ptr<ForeignPages> peer_;
  void* outside_ = nullptr;
};

TEST_F(SharedPagesTest, WhatAPeerWritesIsThereAndWhatItReads) {
  EXPECT_TRUE(write(kPageBytes, 2 * kPageBytes));
  EXPECT_EQ(written(), 2 * kPageBytes);
  EXPECT_EQ(own()[kPageBytes - 1], std::byte{0});
  EXPECT_EQ(own()[kPageBytes], kNew);
  std::vector<std::byte> to(100);
  EXPECT_TRUE(peer_->read(3 * kPageBytes - 50, to));
  EXPECT_EQ(std::count(to.begin(), to.end(), kNew), 50);
}

TEST_F(SharedPagesTest, NothingBeyondTheRegion) {
  std::vector<std::byte> to(kPageBytes);
  EXPECT_FALSE(write(kShareBytes, kPageBytes));
  EXPECT_FALSE(write(~std::uint64_t{0}, kPageBytes));
  EXPECT_FALSE(peer_->read(kShareBytes - 1, to));
}

TEST_F(SharedPagesTest, WholePagesOfARegionInTheMiddle) {
  auto part = pages_->memory().sub(100, kShareBytes - 100);
  const auto peer = ForeignPages::open(pages_->card(part), kShareRegion, kLink, kSecret).value();
  EXPECT_EQ(peer->before_page(0), kPageBytes - 100);
  EXPECT_EQ(peer->whole_pages(0, kShareBytes), 0u);
  EXPECT_EQ(peer->before_page(kPageBytes - 100), 0u);
  EXPECT_EQ(peer->whole_pages(kPageBytes - 100, 3 * kPageBytes - 1), 2 * kPageBytes);
  EXPECT_TRUE(peer->write(kPageBytes - 100, std::vector<std::byte>(kPageBytes, kNew)));
  EXPECT_EQ(own()[kPageBytes], kNew);
}

TEST_F(SharedPagesTest, WhoIsBarredStoresNothing) {
  pages_->bar(kLink, clock_);
  std::vector<std::byte> to(10);
  EXPECT_FALSE(write(0, kPageBytes));
  EXPECT_FALSE(peer_->read(0, to));
  EXPECT_EQ(written(), 0u);
  // Nobody was inside: the next region may use the same pages, and the old ticket is no good.
  pages_->give_back(clock_);
  EXPECT_TRUE(pages_->take(kShareRegion + 1));
  pages_->admit(kLink, ticket_of(kShareRegion + 1, kSecret));
  EXPECT_FALSE(write(0, kPageBytes));
  EXPECT_EQ(written(), 0u);
}

TEST_F(SharedPagesTest, OneRegionAtATime) {
  EXPECT_FALSE(pages_->take(kShareRegion + 1));
  pages_->give_back(clock_);
  EXPECT_TRUE(pages_->take(kShareRegion + 1));
}

TEST_F(SharedPagesTest, PagesOfOneThatStandsInsideAreReplaced) {
  EXPECT_TRUE(write(0, kShareBytes));
  stand_inside(2 * kPageBytes, 3 * kPageBytes, ticket_of(kShareRegion, kSecret));
  pages_->bar(kLink, clock_);
  EXPECT_EQ(written(), kShareBytes) << "what was there stays";
  std::memset(outside_data(), 0, kShareBytes);
  EXPECT_EQ(written(), 3 * kPageBytes) << "late bytes land elsewhere";
  EXPECT_TRUE(std::all_of(own().begin() + 2 * kPageBytes, own().begin() + 5 * kPageBytes,
                          [](std::byte one) { return one == kNew; }));
  // Peers no longer see what the owner sees: all goes by packets.
  pages_->give_back(clock_);
  EXPECT_FALSE(pages_->take(kShareRegion + 1));
}

TEST_F(SharedPagesTest, NobodyIsAdmittedToReplacedPages) {
  stand_inside(0, kPageBytes, ticket_of(kShareRegion, kSecret));
  pages_->bar(kLink, clock_);
  gate().turnstiles[kLink].inside = 0;
  // The region lives on, and its peer has connected again.
  pages_->admit(kLink, ticket_of(kShareRegion, kSecret));
  EXPECT_FALSE(write(0, kPageBytes));
  EXPECT_EQ(peer_->enter(0, kPageBytes), nullptr);
  std::vector<std::byte> to(10);
  EXPECT_FALSE(peer_->read(0, to));
}

TEST_F(SharedPagesTest, EachOfTwoThatStandInsideHasItsPagesReplaced) {
  const auto ticket = ticket_of(kShareRegion, kSecret + 1);
  pages_->admit(kLink + 1, ticket);
  EXPECT_TRUE(write(0, kShareBytes));
  stand_inside(0, kPageBytes, ticket_of(kShareRegion, kSecret));
  stand_inside(4 * kPageBytes, kPageBytes, ticket, kLink + 1);
  pages_->bar(kLink, clock_);
  pages_->bar(kLink + 1, clock_);
  std::memset(outside_data(), 0, kShareBytes);
  EXPECT_EQ(written(), 2 * kPageBytes);
  EXPECT_EQ(own()[4 * kPageBytes], kNew) << "its loan has ended, too";
}

TEST_F(SharedPagesTest, AnotherPeerIsBarredWithIt) {
  const auto ticket = ticket_of(kShareRegion, kSecret + 1);
  pages_->admit(kLink + 1, ticket);
  const auto other =
      ForeignPages::open(pages_->card(pages_->memory()), kShareRegion, kLink + 1, kSecret + 1)
          .value();
  EXPECT_TRUE(other->write(0, std::vector<std::byte>(kPageBytes, kNew)));
  stand_inside(0, kPageBytes, ticket_of(kShareRegion, kSecret));
  pages_->bar(kLink, clock_);
  EXPECT_FALSE(other->write(0, std::vector<std::byte>(kPageBytes, std::byte{1})));
  EXPECT_EQ(own()[0], kNew);
}

TEST_F(SharedPagesTest, WhatAPeerSaysOfItsPlaceIsNotBelieved) {
  EXPECT_TRUE(write(0, kShareBytes));
  stand_inside(kShareBytes - kPageBytes, ~std::size_t{0}, 5);
  pages_->bar(kLink, clock_);
  EXPECT_EQ(written(), kShareBytes);
}

TEST_F(SharedPagesTest, FarOutsideIsNowhere) {
  EXPECT_TRUE(write(0, kShareBytes));
  stand_inside(~std::uint64_t{0} - 5, 100, 5);
  pages_->bar(kLink, clock_);
  EXPECT_EQ(written(), kShareBytes);
}

/// Stands still, and lets somebody out the third time that it is asked.
class LettingOut final : public Clock {
 public:
  explicit LettingOut(Turnstile& way) : way_(way) {}
  TimePoint now() const override {
    if (++asked_ == 3) way_.inside = 0;
    return TimePoint{};
  }

 private:
  Turnstile& way_;
  mutable int asked_ = 0;
};

TEST_F(SharedPagesTest, OneWhoComesOutIsWaitedFor) {
  stand_inside(0, kPageBytes, 5);
  pages_->give_back(LettingOut(gate().turnstiles[kLink]));
  EXPECT_TRUE(pages_->take(kShareRegion + 1)) << "no page was replaced";
}

TEST_F(SharedPagesTest, OnlySuchFilesAreMapped) {
  const auto good = pages_->card(pages_->memory());
  const auto open = [](const SharedCard& card) {
    return ForeignPages::open(card, kShareRegion, kLink, kSecret).code();
  };
  EXPECT_EQ(open(good), Errc::ok);
  auto bad = good;
  bad.cookie ^= 1;
  EXPECT_EQ(open(bad), Errc::unavailable);
  bad = good;
  bad.bytes += 1;
  EXPECT_EQ(open(bad), Errc::unavailable);
  bad = good;
  bad.offset = ~std::uint64_t{0};
  EXPECT_EQ(open(bad), Errc::unavailable);
  bad = good;
  bad.process = ~0u;
  EXPECT_EQ(open(bad), Errc::unavailable);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const int plain = ::memfd_create("plain", 0);
  ASSERT_EQ(::ftruncate(plain, kGateBytes + kShareBytes), 0);
  for (const int file : {ends[0], plain}) {
    bad = good;
    bad.file = static_cast<std::uint32_t>(file);
    EXPECT_EQ(open(bad), Errc::unavailable) << "a pipe, and what may shrink";
  }
  for (const int file : {ends[0], ends[1], plain}) ::close(file);
}

TEST(SharedPool, GivesAndTakes) {
  SharedPool pool;
  EXPECT_EQ(pool.allocate(kSharedMin - 1).data, nullptr);
  const auto memory = pool.allocate(kSharedMin + 1);
  ASSERT_NE(memory.data, nullptr);
  EXPECT_NE(pool.find(memory.sub(5, 100)), nullptr);
  std::byte other{};
  EXPECT_EQ(pool.find({&other, 1}), nullptr);
  EXPECT_FALSE(pool.deallocate({&other, 1}));
  EXPECT_TRUE(pool.deallocate({memory.data, 5}));
  EXPECT_FALSE(pool.deallocate(memory));
}

}  // namespace
}  // namespace shoal::ucx
