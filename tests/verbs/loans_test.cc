#include <algorithm>

#include "core/base/random.h"
#include "tests/verbs/path_fixture.h"
#include "transport/verbs/limits.h"

// When a loan ends: at every step of transfers that are under way, with packets that come late and
// READs that arrive in any order. --gtest_random_seed=N replays N's.

namespace shoal::paths::test {
namespace {

/// What no lent memory holds.
constexpr std::byte kPoison{0xee};

Bytes clean(std::size_t bytes, std::uint64_t seed) {
  auto all = contract::pattern(bytes, seed);
  for (auto& byte : all) byte &= std::byte{0x7f};
  return all;
}
bool is_clean(const Bytes& bytes) {
  return std::none_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == kPoison; });
}

enum class End { close, peer_closes, revoke, detach, drop_transport };

class Loans {
 public:
  static constexpr std::size_t kBytes = 60'000;
  static constexpr std::size_t kOperations = 12;

  Bytes remote_read = clean(kBytes, 1);   ///< of the peer
  Bytes remote_write = clean(kBytes, 2);  ///< of the peer
  std::array<Bytes, kOperations> local;
  std::array<bool, kOperations> attached{};
};

class LoansTest : public PathTest, public testing::WithParamInterface<End> {
 protected:
  void run(std::uint64_t seed, bool out_of_order);
  std::unique_ptr<SoftFabric> made;
};

void LoansTest::run(std::uint64_t seed, bool out_of_order) {
  FabricOptions options;
  options.seed = seed;
  options.reads_out_of_order = out_of_order;
  options.late_packets_max = 8;
  made = std::make_unique<SoftFabric>(options);
  auto& its_network = *made;
  extra = &its_network;
  Random random(seed);
  auto& a = make({.network = &its_network});
  auto& b = make({.network = &its_network});
  const auto steps = [&] {
    for (std::uint64_t left = random.below(60); left > 0; --left) {
      its_network.step();
      if (random.chance(0.1)) a.peer.poll(1 + random.below(8));
      if (random.chance(0.1)) b.peer.poll(1 + random.below(8));
    }
  };
  const auto quiet = [&] {
    for (int turns = 0; turns < 30; ++turns) {
      for (auto* process : {&a, &b})
        if (process->peer.node.transport && process->peer.poll() > 0) turns = 0;
      if (its_network.step()) turns = 0;
      its_network.run(100);
      clock.pass(std::chrono::milliseconds(1));
    }
  };
  const auto at_a = a.transport().connect(b.address, soon()).value();
  ASSERT_TRUE(until([&] { return is_up(a, at_a) && !b.peer.accepted.empty(); }));
  const auto at_b = b.peer.accepted.back();
  ASSERT_TRUE(mentions(a.transport().explain(at_a), "verbs")) << a.transport().explain(at_a);

  Loans loans;
  auto readable = b.transport().register_memory(all(loans.remote_read), Access::read).value();
  auto writable = b.transport().register_memory(all(loans.remote_write), Access::write).value();
  ASSERT_TRUE(send(b, at_b, 1).ok());
  ASSERT_TRUE(until([&] { return !a.peer.messages(at_a).empty(); }));

  std::vector<std::uint64_t> posted;
  for (std::uint64_t i = 0; i < Loans::kOperations; ++i) {
    const auto bytes = 1 + random.below(Loans::kBytes);
    const auto at = random.below(Loans::kBytes - bytes + 1);
    loans.local[i] = clean(bytes, seed + i);
    loans.attached[i] = random.chance(0.5);
    if (loans.attached[i]) {
      ASSERT_TRUE(a.transport().attach(all(loans.local[i])).ok());
    }
    const auto view = all(loans.local[i]);
    const auto status =
        i % 2 == 0
            ? a.transport().read(at_a, view, readable.remote(at, bytes), i + 1)
            : a.transport().write(at_a, {view.data, view.bytes}, writable.remote(at, bytes), i + 1);
    if (status.ok()) posted.push_back(i);
    if (random.chance(0.3)) steps();
  }
  a.transport().flush();
  steps();

  // The loan ends; from now on whoever lent the memory does what he likes with it.
  const auto poison_local = [&] {
    for (auto& one : loans.local) std::fill(one.begin(), one.end(), kPoison);
  };
  const auto poison_remote = [&] {
    std::fill(loans.remote_read.begin(), loans.remote_read.end(), kPoison);
    std::fill(loans.remote_write.begin(), loans.remote_write.end(), kPoison);
  };
  const auto all_poison = [](const Bytes& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == kPoison; });
  };
  const auto end = GetParam();
  const bool ours = end == End::close || end == End::drop_transport;
  if (end == End::close) a.transport().close(at_a);
  if (end == End::drop_transport) a.peer.node.transport.reset();
  if (end == End::peer_closes) b.transport().close(at_b);
  if (end == End::revoke) {
    readable.revoke();
    writable.revoke();
  }
  if (end == End::detach)
    for (std::size_t i = 0; i < Loans::kOperations; ++i)
      if (loans.attached[i]) a.transport().detach(all(loans.local[i]));
  if (ours) poison_local();
  if (end == End::peer_closes || end == End::revoke) poison_remote();
  quiet();
  if (ours) {
    for (const auto& one : loans.local) EXPECT_TRUE(all_poison(one)) << "a late byte of a READ";
    EXPECT_TRUE(is_clean(loans.remote_write)) << "a late byte of a WRITE left";
  } else if (end != End::detach) {
    EXPECT_TRUE(all_poison(loans.remote_write)) << "a late byte of a WRITE";
    for (const auto& one : loans.local) EXPECT_TRUE(is_clean(one)) << "a late byte of a READ left";
  }
  for (const auto i : posted) {
    if (ours && end != End::close) break;
    EXPECT_EQ(a.peer.count(i % 2 == 0 ? Kind::read_done : Kind::write_done, i + 1), 1u) << i;
  }
  readable.revoke();
  writable.revoke();
  processes.clear();
  EXPECT_EQ(its_network.objects(), 0u);
  EXPECT_TRUE(its_network.misuse().empty());
}

TEST_P(LoansTest, NothingLandsOrLeavesOnceTheyHaveEnded) {
  const auto first = contract::first_seed();
  for (auto seed = first; seed < first + 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    run(seed, seed % 2 == 0);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Ends, LoansTest,
                         testing::Values(End::close, End::peer_closes, End::revoke, End::detach,
                                         End::drop_transport));

class AttachedTest : public PathTest {};

/// Views that overlap, touch, are the same or empty; transfers within one, and across two.
TEST_F(AttachedTest, ViewsOfAnyKind) {
  auto& a = make();
  auto& b = make();
  const auto [end_a, at_b] = connect(a, b);
  const auto at_a = end_a;  // lambdas capture no bindings
  auto remote = clean(40'000, 1);
  const auto region = b.transport().register_memory(all(remote), Access::read_write).value();
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  Bytes local(40'000);
  const auto view = [&](std::size_t from, std::size_t bytes) {
    return MemoryView{local.data() + from, bytes, MemorySpace::host, 0};
  };
  const std::vector<MemoryView> views = {
      view(0, 20'000),     view(20'000, 20'000), view(5'000, 100), view(5'000, 10'000),
      view(5'000, 10'000), view(15'000, 10'000), view(0, 0)};
  for (const auto& one : views) EXPECT_TRUE(a.transport().attach(one).ok());
  std::uint64_t context = 0;
  const auto try_all = [&] {
    for (const std::size_t from : {0u, 4'999u, 5'000u, 5'050u, 14'999u, 15'000u, 20'000u, 24'000u})
      for (const std::size_t bytes : {1u, 100u, 9'000u, 16'000u}) {
        std::fill(local.begin(), local.end(), std::byte{0});
        ++context;
        ASSERT_TRUE(
            a.transport().read(at_a, view(from, bytes), region.remote(from, bytes), context).ok());
        ASSERT_TRUE(until([&] { return a.ended(Kind::read_done, context).has_value(); }));
        ASSERT_EQ(a.ended(Kind::read_done, context), Errc::ok);
        Bytes expected(local.size());
        std::copy_n(remote.begin() + static_cast<std::ptrdiff_t>(from), bytes,
                    expected.begin() + static_cast<std::ptrdiff_t>(from));
        ASSERT_EQ(local, expected) << from << ", " << bytes;
      }
  };
  try_all();
  for (const auto& one : views) {
    a.transport().detach(one);
    a.transport().detach(view(1, 1));  // never attached
    try_all();
  }
  a.transport().detach(views[0]);
}

/// What is attached is moved without a copy, what is not with one.
TEST_F(AttachedTest, AreRegisteredOnce) {
  auto& a = make();
  auto& b = make();
  const auto [at_a, at_b] = connect(a, b);
  auto remote = clean(4 << 20, 1);
  const auto region = b.transport().register_memory(all(remote), Access::read).value();
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  Bytes local(remote.size());
  ASSERT_TRUE(a.transport().attach(all(local)).ok());
  const auto registered = a.device->registered_bytes_;
  const auto requests = a.device->counts.requests;
  ASSERT_TRUE(a.transport().read(at_a, all(local), region.remote(), 1).ok());
  ASSERT_TRUE(until([&] { return a.ended(Kind::read_done, 1).has_value(); }));
  EXPECT_EQ(local, remote);
  EXPECT_EQ(a.device->registered_bytes_, registered);
  EXPECT_EQ(a.device->counts.requests - requests, remote.size() / kPieceBytes);
  a.transport().detach(all(local));
  EXPECT_EQ(a.device->registered_bytes_, registered - local.size());
}

}  // namespace
}  // namespace shoal::paths::test
