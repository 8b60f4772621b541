#include <algorithm>
#include <map>
#include <tuple>

#include "core/base/random.h"
#include "tests/verbs/path_fixture.h"

// Random operations of three processes, and faults, beside a model: every operation ends once and
// before its endpoint, each lane brings a beginning of what was sent on it, and every byte of
// memory is what it was or what one transfer put there. --gtest_random_seed=N replays N's.

namespace shoal::paths::test {
namespace {

constexpr std::size_t kProcesses = 3;
constexpr std::size_t kBlockBytes = 12'000;
constexpr std::size_t kBlocks = 48;
/// Fills memory whose loan is over.
constexpr std::byte kOver{0xcc};

/// An operation that is under way.
struct Transfer {
  EndpointId endpoint;
  Kind kind;
  std::size_t local_block, remote, remote_at, bytes;
  std::uint64_t generation;  ///< of the peer's region
  bool over_verbs;           ///< where a WRITE that is done has landed
  Errc ended = Errc::ok;
};

/// One process and what the model knows of it.
struct Actor {
  Process* process = nullptr;
  std::size_t index = 0;
  Bytes source;  ///< Never changes; peers READ it.
  Bytes target;  ///< Peers WRITE blocks, each at most once.
  Bytes local;   ///< Blocks of transfers of its own, each used once.
  Region readable, writable;
  std::uint64_t generation = 0;
  bool attached = false;
  std::size_t seen = 0;  ///< of its events
  std::size_t blocks_used = 0;
  std::vector<std::pair<std::size_t, std::size_t>> over;  ///< Blocks, and how much of them.
  std::size_t target_blocks_used = 0;
  std::map<EndpointId, std::size_t> up;  ///< Endpoints, and whose they lead to (own: 99).
  std::map<std::pair<EndpointId, Lane>, std::uint64_t> sent, received;
};

class PathStorm : public PathTest {
 protected:
  void run(std::uint64_t seed);
  void TearDown() override {
    for (auto& actor : actors_) actor = {};
    PathTest::TearDown();
  }
  std::size_t transfers_ok_ = 0, transfers_failed_ = 0, messages_ = 0, over_verbs_ = 0;

 private:
  Transport& of(Actor& actor) { return actor.process->transport(); }
  void act(Random& random);
  void connect_some(Random& random, Actor& actor);
  void send_some(Random& random, Actor& actor, EndpointId to);
  void transfer(Random& random, Actor& actor, EndpointId to, std::size_t peer);
  void expose(Actor& actor);
  void watch();
  void on_message(Actor& actor, const contract::Seen& what);
  void on_ended(Actor& actor, const contract::Seen& what);
  void calm_down();
  void check();

  std::unique_ptr<SoftFabric> made_;
  std::array<Actor, kProcesses> actors_;
  std::map<std::uint64_t, std::pair<std::size_t, Transfer>> under_way_;  ///< By context.
  std::vector<Transfer> written_;                                        ///< That ended.
  std::vector<Bytes> data_;                                              ///< Of written_.
  std::uint64_t contexts_ = 0;
};

void PathStorm::expose(Actor& actor) {
  actor.writable = {};
  actor.writable = of(actor).register_memory(all(actor.target), Access::write).value();
  ++actor.generation;
}

void PathStorm::connect_some(Random& random, Actor& actor) {
  const auto peer = (actor.index + 1 + random.below(kProcesses - 1)) % kProcesses;
  const auto at = of(actor).connect(actors_[peer].process->address, soon()).value();
  actor.up[at] = peer;  // or on its way
}

void PathStorm::send_some(Random& random, Actor& actor, EndpointId to) {
  const auto lane = random.chance(0.5) ? Lane::message : Lane::bulk;
  auto& number = actor.sent[{to, lane}];
  const auto payload = contract::pattern(random.below(random.chance(0.2) ? 30'000 : 300), number);
  FrameHeader header;
  header.kind = FrameKind::push;
  header.request = RequestId(number);
  const auto meta = std::byte(lane);
  const ConstMemoryView view(payload.data(), payload.size());
  const bool taken = of(actor)
                         .send(to, header, {&meta, 1}, {&view, payload.empty() ? 0u : 1u},
                               {.lane = lane, .copy_payload = true})
                         .ok();
  if (taken) ++number;
}

void PathStorm::transfer(Random& random, Actor& actor, EndpointId to, std::size_t peer) {
  if (actor.blocks_used == kBlocks) return;
  const auto bytes = 1 + random.below(kBlockBytes);
  const MemoryView view{actor.local.data() + actor.blocks_used * kBlockBytes, bytes,
                        MemorySpace::host, 0};
  auto& owner = actors_[peer];
  const auto context = ++contexts_;
  Transfer transfer{
      to, Kind::read_done, actor.blocks_used, peer,
      0,  bytes,           owner.generation,  mentions(of(actor).explain(to), "verbs soft")};
  Status status;
  if (random.chance(0.5)) {
    transfer.remote_at = random.below(owner.source.size() - bytes + 1);
    status = of(actor).read(to, view, owner.readable.remote(transfer.remote_at, bytes), context);
  } else {
    if (owner.target_blocks_used == kBlocks) return;
    transfer.kind = Kind::write_done;
    transfer.remote_at = owner.target_blocks_used * kBlockBytes;
    const auto data = contract::pattern(bytes, context);
    std::copy(data.begin(), data.end(), view.data);
    status = of(actor).write(to, {view.data, bytes},
                             owner.writable.remote(transfer.remote_at, bytes), context);
    if (status.ok()) ++owner.target_blocks_used;
  }
  if (!status.ok()) return;
  ++actor.blocks_used;
  under_way_[context] = {actor.index, transfer};
}

void PathStorm::act(Random& random) {
  auto& actor = actors_[random.below(kProcesses)];
  const auto dice = random.below(1000);
  if (actor.up.empty() || (dice < 30 && actor.up.size() < 4)) return connect_some(random, actor);
  auto chosen = actor.up.begin();
  std::advance(chosen, static_cast<std::ptrdiff_t>(random.below(actor.up.size())));
  const auto [to, peer] = *chosen;
  if (dice < 400) return send_some(random, actor, to);
  if (dice < 600 && peer < kProcesses) return transfer(random, actor, to, peer);
  if (dice < 610) {
    of(actor).close(to);
    actor.up.erase(to);
    return;
  }
  if (dice < 615) return expose(actor);
  if (dice < 625) {
    if (actor.attached)
      of(actor).detach(all(actor.local));
    else
      EXPECT_TRUE(of(actor).attach(all(actor.local)).ok());
    actor.attached = !actor.attached;
    return;
  }
  if (dice < 640) return actor.process->device->stop(random.chance(0.5));
  if (dice < 642) return actor.process->device->set_port_state(1, IBV_PORT_DOWN);
  if (dice < 646) return actor.process->device->set_port_state(1, IBV_PORT_ACTIVE);
  if (dice < 660) return of(actor).flush();
  if (dice < 900) {
    actor.process->peer.poll(1 + random.below(10));
    return watch();
  }
  for (auto left = random.below(40); left > 0; --left) made_->step();
  clock.pass(std::chrono::microseconds(random.below(2000)));
}

void PathStorm::on_message(Actor& actor, const contract::Seen& what) {
  ASSERT_EQ(what.meta.size(), 1u);
  auto& expected = actor.received[{what.endpoint, static_cast<Lane>(what.meta[0])}];
  ASSERT_EQ(what.header.request.value, expected++) << "a lane with a hole";
  ASSERT_EQ(what.payload, contract::pattern(what.payload.size(), what.header.request.value));
  ++messages_;
}

void PathStorm::on_ended(Actor& actor, const contract::Seen& what) {
  const auto at = under_way_.find(what.context);
  ASSERT_TRUE(at != under_way_.end() && at->second.first == actor.index) << "twice, or never asked";
  auto transfer = at->second.second;
  under_way_.erase(at);
  ASSERT_EQ(transfer.kind, what.kind);
  ASSERT_EQ(transfer.endpoint, what.endpoint);
  transfer.ended = what.status;
  (what.status == Errc::ok ? transfers_ok_ : transfers_failed_) += 1;
  const auto begin =
      actor.local.begin() + static_cast<std::ptrdiff_t>(transfer.local_block * kBlockBytes);
  const auto end = begin + static_cast<std::ptrdiff_t>(transfer.bytes);
  const auto& source = actors_[transfer.remote].source;
  if (what.kind == Kind::write_done) {
    written_.push_back(transfer);
    data_.emplace_back(begin, end);
  } else if (what.status == Errc::ok) {
    ASSERT_TRUE(
        std::equal(begin, end, source.begin() + static_cast<std::ptrdiff_t>(transfer.remote_at)))
        << "what was read";
  }
  // Nobody else uses the block any more: what comes late would be seen.
  std::fill(begin, end, kOver);
  actor.over.emplace_back(transfer.local_block, transfer.bytes);
}

void PathStorm::watch() {
  for (auto& actor : actors_) {
    auto& seen = actor.process->peer.seen;
    for (; actor.seen < seen.size() && !HasFatalFailure(); ++actor.seen) {
      const auto& what = seen[actor.seen];
      switch (what.kind) {
        case Kind::accepted:
          actor.up[what.endpoint] = 99;
          break;
        case Kind::connected:
          over_verbs_ += mentions(of(actor).explain(what.endpoint), "verbs soft") ? 1 : 0;
          break;
        case Kind::closed:
          EXPECT_EQ(actor.up.erase(what.endpoint), 1u) << "an end of what is over";
          for (const auto& [context, one] : under_way_)
            EXPECT_FALSE(one.first == actor.index && one.second.endpoint == what.endpoint)
                << "an end before that of " << context;
          break;
        case Kind::message:
          on_message(actor, what);
          break;
        default:
          on_ended(actor, what);
          break;
      }
    }
  }
}

/// Without faults all that is under way ends.
void PathStorm::calm_down() {
  for (auto& actor : actors_) {
    actor.process->device->fate = nullptr;
    actor.process->device->stop(false);
    actor.process->device->set_port_state(1, IBV_PORT_ACTIVE);
  }
  const auto over = [this] {
    bool all_up = true;
    for (auto& actor : actors_)
      for (const auto& [to, peer] : actor.up)
        all_up &= peer >= kProcesses || is_up(*actor.process, to);
    return all_up && under_way_.empty();
  };
  int turns = 0;
  for (int quiet = 0; turns < 20'000 && quiet < 30 && !HasFatalFailure(); ++turns) {
    turn();
    watch();
    clock.pass(std::chrono::milliseconds(20));  // towards the end of trials in vain
    quiet = over() ? quiet + 1 : 0;
  }
  ASSERT_LT(turns, 20'000) << under_way_.size() << " transfers never end, or a connect";
}

void PathStorm::check() {
  std::array<Bytes, kProcesses> expected;
  for (auto& one : expected) one.resize(kBlocks * kBlockBytes);
  for (std::size_t i = 0; i < written_.size(); ++i) {
    const auto& one = written_[i];
    const auto begin = static_cast<std::ptrdiff_t>(one.remote_at);
    const auto* got = actors_[one.remote].target.data() + begin;
    // Of one that failed a beginning is there.
    std::size_t landed = 0;
    while (landed < one.bytes && got[landed] == data_[i][landed]) ++landed;
    const bool sure =
        one.over_verbs && one.ended == Errc::ok && one.generation == actors_[one.remote].generation;
    if (sure) {
      EXPECT_EQ(landed, one.bytes) << "what was written";
    }
    std::copy_n(data_[i].begin(), landed, expected[one.remote].begin() + begin);
  }
  for (auto& actor : actors_) {
    for (const auto& [block, bytes] : actor.over) {
      const auto* begin = actor.local.data() + block * kBlockBytes;
      EXPECT_EQ(std::count(begin, begin + bytes, kOver), static_cast<std::ptrdiff_t>(bytes))
          << "a byte of a READ that is over";
    }
    EXPECT_TRUE(actor.target == expected[actor.index]) << "a byte that nobody wrote";
  }
}

void PathStorm::run(std::uint64_t seed) {
  Random random(seed);
  FabricOptions options;
  options.seed = seed;
  options.reads_out_of_order = random.chance(0.5);
  made_ = std::make_unique<SoftFabric>(options);
  extra = made_.get();
  const bool erroneous = random.chance(0.5);
  for (auto& actor : actors_) {
    actor.index = static_cast<std::size_t>(&actor - actors_.data());
    actor.process = &make({.network = made_.get()});
    actor.source = contract::pattern(40'000, seed + actor.index);
    actor.target.resize(kBlocks * kBlockBytes);
    actor.local.resize(kBlocks * kBlockBytes);
    actor.readable = of(actor).register_memory(all(actor.source), Access::read).value();
    expose(actor);
    actor.process->device->fate = [&random, erroneous](const ibv_wc&) -> Fate {
      constexpr std::array kErrors{IBV_WC_WR_FLUSH_ERR, IBV_WC_RETRY_EXC_ERR, IBV_WC_REM_ACCESS_ERR,
                                   IBV_WC_LOC_PROT_ERR};
      if (erroneous && random.chance(0.003)) return {kErrors[random.below(kErrors.size())], {}};
      if (random.chance(0.05)) return {IBV_WC_SUCCESS, std::chrono::microseconds(random.below(99))};
      return {};
    };
  }
  for (int i = 0; i < 600 && !HasFatalFailure(); ++i) act(random);
  if (!HasFatalFailure()) calm_down();
  if (!HasFatalFailure()) check();
  for (auto& actor : actors_) actor = {};
  under_way_.clear();
  written_.clear();
  data_.clear();
  processes.clear();
  extra = nullptr;
  EXPECT_EQ(made_->objects(), 0u);
  for (const auto& what : made_->misuse()) ADD_FAILURE() << what;
}

TEST_F(PathStorm, KeepsWhatTheModelSays) {
  const auto first = contract::first_seed();
  for (auto seed = first; seed < first + 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    run(seed);
    if (HasFailure()) return;
  }
  // A storm in which nothing happens proves nothing.
  EXPECT_GT(over_verbs_, 300u);
  EXPECT_GT(messages_, 1000u);
  EXPECT_GT(transfers_ok_, 500u);
  EXPECT_GT(transfers_failed_, 50u);
}

}  // namespace
}  // namespace shoal::paths::test
