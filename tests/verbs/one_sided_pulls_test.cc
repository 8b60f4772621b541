#include <algorithm>
#include <array>

#include "core/base/random.h"
#include "tests/verbs/engine_fixture.h"

// Pulls that READ segments over an adapter which serves READs out of order, while another worker
// pushes: see docs/design/one_sided.md.

namespace shoal::paths::test {
namespace {

class OneSidedPullsTest : public EnginePathTest, public testing::WithParamInterface<std::uint64_t> {
 protected:
  static constexpr std::size_t kSegments = 4;
  static constexpr std::size_t kPerSegment = 4096;  // 16 KiB, four packets
  static constexpr std::size_t kRows = kSegments * kPerSegment;
  static constexpr std::size_t kPulls = 4;
  static constexpr std::size_t kPushes = 2;
  static constexpr std::size_t kReader = 0, kWriter = 1;

  OneSidedPullsTest() : EnginePathTest({.seed = GetParam(), .reads_out_of_order = true}) {}

  /// What a segment holds before any push: no other's, nor what stood in the memory before.
  static float first_value(std::size_t segment) {
    return static_cast<float>(1'000'000 * (segment + 1));
  }

  void fill() {
    start(2, dense(kRows, kPerSegment * sizeof(float)));
    std::vector<float> rows(kRows);
    for (std::size_t i = 0; i < kRows; ++i) rows[i] = first_value(i / kPerSegment);
    ASSERT_EQ(end(kWriter, push(kWriter, 0, rows, true)).code, Errc::ok);
    ASSERT_TRUE(mentions(path_to_server(kReader), "verbs soft"));
    for (std::size_t i = 0; i < kPulls; ++i) {
      pulls_[i].memory.resize(kRows);
      // Into memory that is attached, and into such that READs reach by a copy.
      if (i % 2 == 0)
        pulls_[i].record =
            engine(kReader).add_memory(host_view(std::span(pulls_[i].memory)), false);
    }
  }

  /// Pulls of all rows and pushes of a segment at a time, at paces that change.
  void run(int turns) {
    for (int i = 0; i < turns; ++i) {
      const bool hasty = i / 250 % 2 == 1;
      steps_ = static_cast<int>(1 + random_.below(hasty ? 12 : 60));
      for (auto& one : pushes_) {
        if (one.id.valid() && !finish(one)) continue;
        if (hasty || random_.below(20) == 0) start_push(one);
      }
      for (auto& one : pulls_)
        if (!one.id.valid() || finish(one)) start_pull(one);
      turn();
    }
    ASSERT_TRUE(until([&] {
      bool none = true;
      for (auto& one : pushes_) none = (!one.id.valid() || finish(one)) && none;
      for (auto& one : pulls_) none = (!one.id.valid() || finish(one)) && none;
      return none;
    }));
  }
  OneSidedCounts counts() { return engine(kReader).one_sided(); }

  std::uint64_t pulled_ = 0;
  std::uint64_t failed_ = 0;
  std::uint64_t torn_ = 0;     ///< segments whose rows are not of one moment
  std::uint64_t foreign_ = 0;  ///< that hold what they never held,
  std::uint64_t stale_ = 0;    ///< or what they had before a push that had ended before the pull

 private:
  struct OnePush {
    OperationId id;
    std::size_t segment = 0;
  };
  struct OnePull {
    OperationId id;
    std::vector<float> memory;
    MemoryRecord* record = nullptr;
    std::array<std::uint64_t, kSegments> least{};
  };

  void start_push(OnePush& one) {
    one.segment = random_.below(kSegments);
    ++issued_[one.segment];
    one.id = push(kWriter, one.segment * kPerSegment, ones_);
  }
  void start_pull(OnePull& one) {
    std::fill(one.memory.begin(), one.memory.end(), -1.0f);
    one.least = ended_;
    auto ask = ask_for(0, one.memory);
    ask.target_memory = one.record;
    ask.one_sided = true;
    one.id = submit(kReader, std::move(ask), std::chrono::minutes(10));
  }
  bool finish(OnePush& one) {
    if (!done(kWriter, one.id)) return false;
    failed_ += engine(kWriter).operation(one.id).code == Errc::ok ? 0 : 1;
    engine(kWriter).drop(one.id);
    ++ended_[one.segment];
    one.id = {};
    return true;
  }
  bool finish(OnePull& one) {
    if (!done(kReader, one.id)) return false;
    const bool good = engine(kReader).operation(one.id).code == Errc::ok;
    engine(kReader).drop(one.id);
    one.id = {};
    ++pulled_;
    failed_ += good ? 0 : 1;
    for (std::size_t segment = 0; good && segment < kSegments; ++segment)
      look_at(std::span(one.memory).subspan(segment * kPerSegment, kPerSegment), segment,
              one.least[segment]);
    return true;
  }
  void look_at(std::span<const float> rows, std::size_t segment, std::uint64_t least) {
    const auto pushes = rows.front() - first_value(segment);
    const bool whole =
        std::all_of(rows.begin(), rows.end(), [&](float row) { return row == rows.front(); });
    torn_ += whole ? 0 : 1;
    foreign_ += pushes < 0 || pushes > static_cast<float>(issued_[segment]) ? 1 : 0;
    stale_ += pushes < static_cast<float>(least) ? 1 : 0;
  }

  Random random_{GetParam()};
  std::vector<float> ones_ = std::vector<float>(kPerSegment, 1.0f);
  std::array<OnePush, kPushes> pushes_;
  std::array<OnePull, kPulls> pulls_;
  std::array<std::uint64_t, kSegments> issued_{}, ended_{};
};

TEST_P(OneSidedPullsTest, AreOfOneMomentWhileOthersPush) {
  fill();
  run(3000);
  EXPECT_GT(pulled_, 200u);
  EXPECT_EQ(failed_, 0u);
  EXPECT_EQ(torn_, 0u);
  EXPECT_EQ(foreign_, 0u);
  EXPECT_EQ(stale_, 0u);
  EXPECT_GT(counts().reads, 50u) << "the server had no part in them";
  EXPECT_GT(counts().retries, 50u) << "a push came between the two looks at an entry";
  EXPECT_GT(counts().fell_back(Fallback::changing), 0u) << "at every try: these were asked for";
  EXPECT_EQ(counts().fell_back(Fallback::broken), 0u);
}

/// Without the last look at the entry these tests find what it is for.
TEST_P(OneSidedPullsTest, ThatTakeWhatTheyReadForWholeAreFound) {
  engine_options_.faults.read_unchecked = true;
  fill();
  run(1000);
  EXPECT_GT(torn_, 0u);
  EXPECT_EQ(foreign_, 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, OneSidedPullsTest, testing::Range<std::uint64_t>(1, 9));

}  // namespace
}  // namespace shoal::paths::test
