#include <array>

#include "tests/support/allocations.h"
#include "tests/verbs/engine_fixture.h"

// What a one-sided pull costs: as much at the adapter as three rounds of ib_read_lat, and the
// server's processor nothing.

namespace shoal::paths::test {
namespace {

class OneSidedCountsTest : public EnginePathTest {
 protected:
  static constexpr std::size_t kRows = 1024;  // 4 KiB, a segment

  void start_with_rows() {
    start(1, dense(kRows));
    for (std::size_t i = 0; i < kRows; ++i) memory_[i] = static_cast<float>(i);
    ASSERT_EQ(end(0, push(0, 0, memory_, true)).code, Errc::ok);
    record_ = engine(0).add_memory(host_view(std::span(memory_)), false);
    // Until the directory is known, pulls are requests.
    ASSERT_TRUE(until([&] {
      EXPECT_EQ(end(0, submit(0, ask(), std::chrono::minutes(1))).code, Errc::ok);
      return engine(0).one_sided().reads > 0;
    }));
  }

  /// One after the other, while nobody but the worker has a turn. The first that fails: false.
  bool pull_alone(int count) {
    for (int i = 0; i < count; ++i) {
      const auto id = submit(0, ask(), std::chrono::minutes(1));
      for (int turns = 0; turns < 10 && !done(0, id); ++turns) {
        engine(0).poll(clock.now());
        while (network.step()) {
        }
      }
      if (!done(0, id) || engine(0).operation(id).code != Errc::ok) return false;
      engine(0).drop(id);
    }
    return true;
  }

 private:
  Engine::Ask ask() {
    auto ask = ask_for(0, memory_);
    ask.target_memory = record_;
    ask.one_sided = true;
    return ask;
  }

  std::vector<float> memory_ = std::vector<float>(kRows);
  MemoryRecord* record_ = nullptr;
};

TEST_F(OneSidedCountsTest, APullIsThreeRoundsOfIbReadLatAndNoneOfTheServers) {
  start_with_rows();
  ASSERT_TRUE(pull_alone(100));
  const std::array before{device_of(0).counts, server_device().counts};
  const auto reads = engine(0).one_sided().reads;
  const auto allocated = shoal::test::allocations();
  const bool done = pull_alone(1000);
  EXPECT_EQ(shoal::test::allocations() - allocated, 0u);
  ASSERT_TRUE(done);
  EXPECT_EQ(engine(0).one_sided().reads - reads, 1000u);
  const std::array after{device_of(0).counts, server_device().counts};
  EXPECT_EQ(after[0].requests - before[0].requests, 3000u);
  EXPECT_EQ(after[0].send_doorbells - before[0].send_doorbells, 3000u);
  EXPECT_EQ(after[0].completions - before[0].completions, 3000u);
  EXPECT_EQ(after[0].receives - before[0].receives, 0u);
  EXPECT_EQ(after[1].requests - before[1].requests, 0u);
  EXPECT_EQ(after[1].completions - before[1].completions, 0u);
  EXPECT_EQ(after[1].polls - before[1].polls, 0u);
}

}  // namespace
}  // namespace shoal::paths::test
