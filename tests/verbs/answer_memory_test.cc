#include <cerrno>

#include "core/table/messages.h"
#include "tests/verbs/engine_fixture.h"

// A server whose device takes no more memory: what it cannot answer ends with the reason, all else
// goes on.

namespace shoal::paths::test {
namespace {

class AnswerMemoryTest : public EnginePathTest {
 protected:
  static constexpr std::size_t kRows = kEagerBytesMax / sizeof(float);

  void fill(std::size_t rows) {
    start(1, dense(rows));
    values_.assign(rows, 1.0f);
    ASSERT_EQ(end(0, push(0, 0, values_, true)).code, Errc::ok);
    ASSERT_TRUE(mentions(path_to_server(0), "verbs soft"));
  }
  End pull_rows(std::size_t rows) {
    values_.assign(rows, 0.0f);
    const auto ended = end(0, pull(0, 0, values_, std::chrono::seconds(20)));
    if (ended.code == Errc::ok) {
      EXPECT_EQ(values_, std::vector<float>(rows, 1.0f));
    }
    return ended;
  }

  std::vector<float> values_;
};

/// An answer that its lane's memory has to grow for.
TEST_F(AnswerMemoryTest, AnAnswerThatFindsNoneIsRefusedWithTheReason) {
  engine_options_.answer_bytes_max = kEagerBytesMax;
  fill(kRows);
  server_device().fail_registrations(ENOMEM);
  const auto began = clock.now();
  for (int i = 0; i < 3; ++i) {
    const auto refused = pull_rows(kRows);
    EXPECT_EQ(refused.code, Errc::registration) << refused.detail;
    EXPECT_TRUE(mentions(refused.detail, "registering")) << refused.detail;
    EXPECT_EQ(pull_rows(25).code, Errc::ok) << "nobody waits behind it";
  }
  EXPECT_LT(clock.now() - began, std::chrono::seconds(5)) << "no deadline had to end it";
  server_device().fail_registrations(0);
  const auto later = pull_rows(kRows);
  EXPECT_EQ(later.code, Errc::ok) << later.detail;
}

/// Many at once: each is one's own.
TEST_F(AnswerMemoryTest, ManyAreRefusedAtOnce) {
  engine_options_.answer_bytes_max = kEagerBytesMax;
  fill(kRows);
  server_device().fail_registrations(ENOMEM);
  std::vector<std::vector<float>> memory(40, std::vector<float>(kRows));
  std::vector<OperationId> pulls;
  for (std::size_t i = 0; i < memory.size(); ++i)
    pulls.push_back(pull(0, 0, std::span(memory[i]).first(i % 2 == 0 ? kRows : 4000)));
  for (std::size_t i = 0; i < pulls.size(); ++i) {
    const auto ended = end(0, pulls[i]);
    EXPECT_EQ(ended.code, i % 2 == 0 ? Errc::registration : Errc::ok) << ended.detail;
  }
  server_device().fail_registrations(0);
  EXPECT_EQ(pull_rows(kRows).code, Errc::ok);
}

/// Rows that are WRITten from memory which is neither attached nor can be copied on its way: the
/// link ends, and TCP brings them.
TEST_F(AnswerMemoryTest, RowsThatNoDeviceReachesGoOverTcp) {
  attaches_ = false;
  fill(4 * kRows);
  server_device().fail_registrations(ENOMEM);
  const auto ended = pull_rows(4 * kRows);
  EXPECT_EQ(ended.code, Errc::ok) << ended.detail;
  const auto path = path_to_server(0);
  EXPECT_FALSE(mentions(path, "verbs soft")) << path;
  EXPECT_TRUE(mentions(path, "registering")) << path;
}

}  // namespace
}  // namespace shoal::paths::test
