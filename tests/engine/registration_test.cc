// Memory that the user lends without registering it, on a transport that pins what it registers.

#include <sys/mman.h>

#include <algorithm>
#include <span>
#include <thread>

#include "core/memory/memory_monitor.h"
#include "tests/engine/cluster.h"

namespace shoal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Registration : public EngineTest {
 protected:
  static constexpr std::size_t kBytes = kRows * sizeof(float);

  void SetUp() override {
    if (const auto monitor = MemoryMonitor::create(); !monitor.ok())
      GTEST_SKIP() << monitor.error().message();
    pins_ = true;
    engine_options_.eager_bytes_max = engine_options_.answer_bytes_max = 0;
    start(1, {dense("t", Apply::on_arrival, unbounded)});
    map();
  }
  void TearDown() override {
    if (values_ != nullptr) ::munmap(values_, kMapped);
  }
  /// At the same address each time.
  void map() {
    void* mapped =
        ::mmap(values_, kMapped, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | (values_ != nullptr ? MAP_FIXED : 0), -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    values_ = static_cast<float*>(mapped);
  }
  std::span<float> values() const { return {values_, kRows}; }
  OperationId move(OperationKind kind, Duration timeout = seconds(20)) {
    Engine::Ask ask;
    ask.kind = kind;
    ask.table = tables_.at(0);
    ask.rows = {0, kRows};
    if (kind == OperationKind::pull)
      ask.target = host_view(values());
    else
      ask.source = ConstMemoryView(host_view(values()));
    return submit(0, std::move(ask), timeout);
  }
  /// How many registrations it took.
  std::uint64_t cost(OperationKind kind) {
    const auto before = registrations_;
    const auto id = move(kind);
    const auto& op = wait(0, id);
    EXPECT_EQ(op.code, Errc::ok) << op.detail;
    EXPECT_TRUE(engine(0).drop(id));
    return registrations_ - before;
  }
  /// Some of the next operations takes none.
  bool stays(OperationKind kind) {
    for (int tries = 0; tries < 1000; ++tries) {
      if (cost(kind) == 0) return true;
      std::this_thread::yield();
    }
    return false;
  }
  bool holds(float value) const {
    return std::all_of(values().begin(), values().end(), [&](float v) { return v == value; });
  }
  std::string explain() {
    Engine::Ask ask;
    ask.kind = OperationKind::explain;
    return wait(0, submit(0, std::move(ask), seconds(1))).detail;
  }

  static constexpr std::size_t kMapped = 4096;
  float* values_ = nullptr;
};

TEST_F(Registration, OfWhatIsLentAgainIsMadeOnce) {
  std::ranges::fill(values(), 1.0f);
  EXPECT_EQ(cost(OperationKind::push), 1u);
  EXPECT_TRUE(stays(OperationKind::push));
  std::ranges::fill(values(), 0.0f);
  EXPECT_TRUE(stays(OperationKind::pull)) << "once more, to be written to";
  EXPECT_EQ(cost(OperationKind::push), 0u) << "by which it may be read, too";
  EXPECT_NE(explain().find("1 ranges, 256 bytes of it stay registered"), std::string::npos)
      << explain();
}

TEST_F(Registration, OfOtherMemoryAtTheSameAddressIsAnother) {
  std::ranges::fill(values(), 2.0f);
  EXPECT_EQ(cost(OperationKind::push), 1u);
  EXPECT_TRUE(stays(OperationKind::pull));
  for (int i = 0; i < 20; ++i) {
    map();
    ASSERT_TRUE(holds(0.0f));
    EXPECT_GT(cost(OperationKind::pull), 0u) << i;
    EXPECT_TRUE(holds(2.0f)) << i;
    EXPECT_TRUE(stays(OperationKind::pull)) << i;
  }
}

/// The server stands still with the pull, and answers when its memory is the user's again.
TEST_F(Registration, EndsWhereALoanEndsByForce) {
  EXPECT_TRUE(stays(OperationKind::pull));
  network_.stop(server_node_);
  const auto& op = wait(0, move(OperationKind::pull, milliseconds(20)));
  EXPECT_NE(op.code, Errc::ok);
  network_.protect(ConstMemoryView(host_view(values())));
  network_.resume(server_node_);
  run(seconds(1));
  EXPECT_TRUE(network_.violations().empty());
  network_.unprotect(ConstMemoryView(host_view(values())));
  EXPECT_NE(explain().find("0 ranges"), std::string::npos) << explain();
  EXPECT_EQ(cost(OperationKind::pull), 1u);
}

/// Of two pulls into the same memory one ends by force: the other is repeated, the same bytes.
TEST_F(Registration, ThatAnotherLoanSharesLastsAsLong) {
  EXPECT_TRUE(stays(OperationKind::pull));
  std::ranges::fill(values(), 3.0f);
  EXPECT_EQ(cost(OperationKind::push), 0u);
  network_.stop(server_node_);
  const auto late = move(OperationKind::pull, milliseconds(20));
  const auto patient = move(OperationKind::pull);
  EXPECT_NE(wait(0, late).code, Errc::ok);
  std::ranges::fill(values(), 0.0f);
  network_.resume(server_node_);
  EXPECT_EQ(wait(0, patient).code, Errc::ok) << engine(0).operation(patient).detail;
  EXPECT_NE(explain().find("0 ranges"), std::string::npos) << explain();
  EXPECT_TRUE(holds(3.0f));
}

}  // namespace
}  // namespace shoal::test
