#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/verbs/engine_fixture.h"

// Two rails, of which one fails in the midst of large pushes and pulls: all of them end well, over
// the other.

namespace shoal::paths::test {
namespace {

enum class RailSide : std::uint8_t { worker, server };
enum class RailFault : std::uint8_t {
  port_down,
  unacknowledged,  ///< and nobody says why
};

struct RailFailure {
  std::string name;
  RailSide side;
  std::size_t device;  ///< of that side's
  RailFault how;

  friend void PrintTo(const RailFailure& failing, std::ostream* out) { *out << failing.name; }
};

class RailFailuresTest : public EnginePathTest, public testing::WithParamInterface<RailFailure> {
 protected:
  static constexpr std::size_t kRows = (4u << 20) / sizeof(float);
  static constexpr std::size_t kEach = 3;

  /// Rows that stay as they are, to be pulled, and behind them as many that are pushed to.
  void start_with_rows() {
    more_devices_ = 1;
    start(1, dense(2 * kRows));
    for (std::size_t i = 0; i < kRows; ++i) still_[i] = static_cast<float>(i);
    ASSERT_EQ(end(0, push(0, 0, still_, true)).code, Errc::ok);
  }
  void push_and_pull() {
    for (auto& rows : pulled_) {
      rows.assign(kRows, -1.0f);
      operations_.push_back(push(0, kRows, ones_));
      operations_.push_back(pull(0, 0, rows));
    }
  }
  std::size_t unended() {
    return static_cast<std::size_t>(std::count_if(operations_.begin(), operations_.end(),
                                                  [this](OperationId id) { return !done(0, id); }));
  }
  /// Sent by each of the server's devices, which READs what is pushed and WRITEs what is pulled.
  std::array<std::uint64_t, 2> packets() {
    const auto& devices = server_process().devices;
    return {devices[0]->counts.packets, devices[1]->counts.packets};
  }
  bool uses_both() {
    const auto path = path_to_server(0);
    EXPECT_TRUE(mentions(path, "; verbs soft")) << path;
    return mentions(path, ", and soft");
  }
  void fail_rail() {
    const auto& failing = GetParam();
    auto& process = failing.side == RailSide::server ? server_process() : process_of(0);
    auto& device = *process.devices[failing.device];
    if (failing.how == RailFault::port_down)
      device.set_port_state(1, IBV_PORT_DOWN);
    else
      device.fate = [](const ibv_wc&) { return Fate{.status = IBV_WC_RETRY_EXC_ERR}; };
  }

  std::vector<float> ones_ = std::vector<float>(kRows, 1.0f);
  std::vector<float> still_ = std::vector<float>(kRows);
  std::array<std::vector<float>, kEach> pulled_;
  std::vector<OperationId> operations_;
};

TEST_P(RailFailuresTest, LargeOperationsGoOnOverTheOther) {
  start_with_rows();
  EXPECT_TRUE(uses_both());
  push_and_pull();
  const auto before = packets();
  ASSERT_TRUE(until([&] {
    const auto now = packets();
    return now[0] - before[0] > 200 && now[1] - before[1] > 200;
  }));
  ASSERT_GT(unended(), kEach) << "pushes and pulls";
  fail_rail();
  for (const auto id : operations_) {
    const auto ended = end(0, id);
    EXPECT_EQ(ended.code, Errc::ok) << ended.detail;
  }
  EXPECT_FALSE(uses_both());
  for (const auto& rows : pulled_) EXPECT_TRUE(rows == still_);
  const auto then = packets();
  std::vector<float> sum(kRows);
  EXPECT_EQ(end(0, pull(0, kRows, sum)).code, Errc::ok);
  const auto now = packets();
  EXPECT_TRUE(now[0] == then[0] || now[1] == then[1]) << "over one of the two alone";
  EXPECT_TRUE(sum == std::vector<float>(kRows, static_cast<float>(kEach)))
      << "each push is added once";
}

std::vector<RailFailure> rail_failures() {
  return {{"PortOfTheWorkersFirst", RailSide::worker, 0, RailFault::port_down},
          {"PortOfTheWorkersSecond", RailSide::worker, 1, RailFault::port_down},
          {"PortOfTheServersFirst", RailSide::server, 0, RailFault::port_down},
          {"PortOfTheServersSecond", RailSide::server, 1, RailFault::port_down},
          {"PacketsOfTheServersFirst", RailSide::server, 0, RailFault::unacknowledged},
          {"PacketsOfTheServersSecond", RailSide::server, 1, RailFault::unacknowledged}};
}

INSTANTIATE_TEST_SUITE_P(Rails, RailFailuresTest, testing::ValuesIn(rail_failures()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace shoal::paths::test
