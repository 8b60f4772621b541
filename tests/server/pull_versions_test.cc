// What an answer says of the age of its rows.

#include "tests/server/server_fixture.h"

namespace shoal::test {
namespace {

class PullVersions : public ServerTest {
 protected:
  /// Keys in the message, of one slot; rows in the answer.
  RequestId pull_keys(RawClient& client, std::uint32_t slot, const std::vector<Key>& keys) {
    PullMeta meta;
    meta.run_count = 1;
    meta.need = WorkerClock(0);
    meta.time_left = ~std::uint64_t{0};
    PullRun run;
    run.slot = SlotIndex(slot);
    run.part_count = 1;
    run.row_count = keys.size();
    run.have = WorkerClock(-1);
    run.since = Epoch{1, 1}.packed();
    return client.send(header_for(FrameKind::pull, 1, 0, frame_flag::kKeyList), meta,
                       std::vector{run}, bytes(keys));
  }
};

/// Segments of a collective table end their rounds one by one: an answer speaks of those that its
/// keys are in, and of no other.
TEST_F(PullVersions, AFewKeysAreAsOldAsTheirOwnSegments) {
  start({dense(512, Apply::collective, 0)});
  const auto rows = geometry(1).rows_per_segment();
  ASSERT_GE(geometry(1).rows_of(SlotIndex(0)).size(), 2 * rows) << "two segments in a slot";
  std::vector<RequestId> pushed;
  for (auto client = 0u; client < 3; ++client)
    pushed.push_back(push(*clients[client], 1, 1, {0, rows}, 1));
  for (auto client = 0u; client < 3; ++client)
    ASSERT_EQ(wait(*clients[client], pushed[client]).status, Errc::ok);
  const auto expect = [&](const std::vector<Key>& keys, std::int64_t oldest, std::int64_t newest,
                          const std::vector<float>& values) {
    const auto& got = wait(*clients[0], pull_keys(*clients[0], 0, keys));
    EXPECT_EQ(got.prefix.oldest, WorkerClock(oldest)) << keys.front();
    EXPECT_EQ(got.prefix.newest, WorkerClock(newest)) << keys.front();
    EXPECT_EQ(got.floats(), values);
  };
  expect({1, rows - 1}, 1, 1, {3, 3});
  expect({rows}, 0, 0, {0});
  expect({1, rows}, 0, 0, {3, 0});  // the part is as old as its oldest row
}

}  // namespace
}  // namespace shoal::test
