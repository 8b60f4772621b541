#include <set>

#include "core/base/random.h"
#include "server/scheduler/membership.h"
#include "tests/server/membership_fixture.h"

namespace shoal {
namespace {

// ---- Anything, in any order.

/// Random events, restarts and stale messages. After each: G and epochs do not go back, G is at
/// most what each worker of the roster told, newcomers stand ahead of every clock that may be
/// folded, ranks are the lowest free ones.
class MembershipStorm : public testing::TestWithParam<std::uint64_t> {
 protected:
  void check(Script& s) {
    const auto& view = s.view();
    ASSERT_GE(view.epoch, epoch_);
    epoch_ = view.epoch;
    if (!s.members.recovering()) {
      ASSERT_GE(s.clock(), clock_) << "G went back";
      clock_ = s.clock();
    }
    std::set<Rank> ranks;
    for (const auto& entry : view.roster) {
      ASSERT_TRUE(ranks.insert(entry.rank).second);
      const auto told = told_.find(entry.worker);
      const auto reported = told == told_.end() ? entry.start.value : told->second;
      ASSERT_LE(s.clock(), reported) << "G is ahead of worker " << entry.worker.value;
      if (!seen_.insert(entry.worker).second || entry.start.value == 0) continue;
      ASSERT_GE(entry.start.value, clock_before_ + window_before_) << "a newcomer below a fold";
    }
  }
  Epoch epoch_;
  std::int64_t clock_ = 0, clock_before_ = 0, window_before_ = 2;
  std::map<NodeId, std::int64_t> told_;
  std::set<NodeId> seen_;
};

TEST_P(MembershipStorm, KeepsItsInvariants) {
  Random random(GetParam());
  auto options = expecting(2, 3);
  options.straggler_limit = random.chance(0.3) ? 6 : 0;
  Script s(options);
  s.form(2, 3);
  check(s);
  std::uint64_t incarnation = 1000;
  for (int step = 0; step < 400; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    clock_before_ = clock_;
    window_before_ = s.view().window;
    const auto roster = s.view().roster;
    const auto worker = roster.empty() ? NodeId(9999) : roster[random.below(roster.size())].worker;
    const auto start = roster.empty() ? 0 : s.view().find_worker(worker)->start.value;
    auto& told = told_[worker];
    told = std::max(told, start);
    switch (random.below(12)) {
      case 0:
        s.join(Role::worker, ++incarnation);
        break;
      case 1:
        s.join(Role::server, ++incarnation);
        break;
      case 2:
        if (random.chance(0.3)) s.members.leave(s.next++, worker);
        break;
      case 3:
        if (random.chance(0.2)) s.restart();
        break;
      case 4:
        s.members.suspect(NodeId(static_cast<std::uint32_t>(random.below(20))), "is silent");
        break;
      case 5:
        if (random.chance(0.3))
          s.members.lost(NodeId(static_cast<std::uint32_t>(random.below(20))), "the test says so");
        break;
      case 6: {
        const auto name = "t" + std::to_string(random.below(6));
        const auto mode = static_cast<Apply>(random.below(3));
        s.open(worker, dense(name, 10, mode, static_cast<std::int64_t>(random.below(4))), told);
        break;
      }
      case 7:
        s.barrier(worker, 1 + random.below(50));
        break;
      case 8:
        s.now += std::chrono::milliseconds(random.below(random.chance(0.1) ? 12000 : 1500));
        if (random.chance(0.9)) s.beat();
        break;
      case 9:
        if (random.chance(0.5) && s.next > 2) s.members.forget(1 + random.below(s.next - 1));
        break;
      default: {
        told += static_cast<std::int64_t>(random.below(3));
        s.tick(worker, told, told + static_cast<std::int64_t>(random.below(2)));
        if (random.chance(0.2)) s.tick(worker, std::max<std::int64_t>(0, told - 2));  // an old one
      }
    }
    check(s);
    if (HasFatalFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MembershipStorm, testing::Range<std::uint64_t>(1, 101));

}  // namespace
}  // namespace shoal
