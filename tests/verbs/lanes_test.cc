#include <algorithm>

#include "tests/verbs/path_fixture.h"

// What travels on pairs of its own is held back by nothing on the others.

namespace shoal::paths::test {
namespace {

class LanesTest : public PathTest {
 protected:
  static constexpr std::size_t kReads = 16;
  static constexpr std::size_t kReadBytes = 1u << 20;

  /// A pair has few READs under way, as adapters do: what is posted behind more of them waits.
  static DeviceOptions adapter() {
    DeviceOptions options;
    options.attributes.max_qp_rd_atom = options.attributes.max_qp_init_rd_atom = 4;
    return options;
  }
};

/// Neither a message nor a frame of the bulk lane: the device would serve READs ahead of it.
TEST_F(LanesTest, AMessageDoesNotWaitBehindReads) {
  auto& a = make({.device = adapter()});
  auto& b = make({.device = adapter()});
  const auto [at_a, at_b] = connect(a, b);
  auto remote = contract::pattern(kReadBytes, 1);
  const auto region = b.transport().register_memory(all(remote), Access::read).value();
  ASSERT_TRUE(ping(a, at_a, b, at_b));
  ASSERT_TRUE(mentions(a.transport().explain(at_a), "verbs soft"));
  Bytes local(kReads * kReadBytes);
  // Attached, or READs would wait for memory to bounce through, and not for each other.
  ASSERT_TRUE(a.transport().attach(all(local)).ok());
  for (const auto lane : {Lane::message, Lane::bulk}) {
    SCOPED_TRACE(static_cast<int>(lane));
    a.peer.seen.clear();
    b.peer.seen.clear();
    std::fill(local.begin(), local.end(), std::byte{0});
    for (std::size_t i = 0; i < kReads; ++i)
      ASSERT_TRUE(
          a.transport()
              .read(at_a, all(local).sub(i * kReadBytes, kReadBytes), region.remote(), i + 1)
              .ok());
    ASSERT_TRUE(send(a, at_a, 1, 100, lane).ok());
    ASSERT_TRUE(until([&, to = at_b] { return !numbers(b, to).empty(); }));
    // Not by their completions, which come together.
    const auto has_come = [&](std::size_t i) {
      return std::equal(remote.begin(), remote.end(), &local[i * kReadBytes]);
    };
    EXPECT_FALSE(has_come(0)) << "it has waited for a READ";
    ASSERT_TRUE(until([&] { return a.peer.count(Kind::read_done) == kReads; }));
    for (std::size_t i = 0; i < kReads; ++i) EXPECT_TRUE(has_come(i)) << i;
  }
  a.transport().detach(all(local));
}

}  // namespace
}  // namespace shoal::paths::test
