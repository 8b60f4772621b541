#include "server/scheduler/scheduler.h"

#include <optional>

#include "tests/server/scheduler_fixture.h"
#include "transport/session.h"

namespace shoal {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TableSpec table_spec(std::string name, Apply apply = Apply::per_clock) {
  TableSpec spec;
  spec.name = std::move(name);
  spec.rows = 10'000'000;
  spec.apply = apply;
  return spec;
}

TEST_F(SchedulerTest, AClusterForms) {
  form(2, 3);
  EXPECT_TRUE(scheduler_->view()->formed);
  ASSERT_TRUE(wait([&] { return everyone_has(scheduler_->view()->epoch); }));
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(*member(i).link().view(), *scheduler_->view());
}

TEST_F(SchedulerTest, AViewIsStoredBeforeAnyoneHasIt) {
  form(1, 2);
  driver_.after_each([&] {
    const auto stored = memory_store_.load().value();
    for (const auto& machine : machines_)
      if (machine->member && machine->member->link().view()) {
        ASSERT_LE(machine->member->link().view()->epoch, stored->view.epoch);
      }
  });
  start(Role::worker);
  ask(member(1), FrameKind::open_table, table_spec("w"), 1);
  EXPECT_TRUE(wait([&] { return all_joined() && !member(1).answers.empty(); }));
  EXPECT_TRUE(member(1).table_was_in_view) << "the answer came before its view";
  driver_.after_each(nullptr);
}

TEST_F(SchedulerTest, TheGlobalClockReachesTheServers) {
  form(2, 2);
  tick(member(2), 5);
  tick(member(3), 3);
  ASSERT_TRUE(wait([&] {
    return member(0).link().global_clock() == WorkerClock(3) &&
           member(1).link().global_clock() == WorkerClock(3);
  }));
  EXPECT_EQ(member(0).link().global_clock_info().holder, member(3).id());
  EXPECT_EQ(member(0).link().global_clock_info().roster, 2u);
}

TEST_F(SchedulerTest, NoServerIsAheadOfTheScheduler) {
  form(2, 3);
  driver_.after_each([&] {
    for (const auto& machine : machines_)
      if (machine->member) {
        ASSERT_LE(machine->member->link().global_clock(), scheduler_->global_clock());
      }
  });
  for (int clock = 1; clock < 40; ++clock) {
    for (std::size_t i = 2; i < 5; ++i)
      if (machine(i).member && network_.random(4) > 0) tick(member(i), clock);
    if (clock == 10) network_.drop_connections(machine(0).node, scheduler_node_);
    if (clock == 20) kill(machine(4));
    if (clock == 25) start(Role::worker);
    run(milliseconds(500));
  }
  tick(member(2), 40);
  tick(member(3), 40);
  run(seconds(1));
  EXPECT_GT(scheduler_->global_clock(), WorkerClock(19)) << "the dead worker holds it back";
  driver_.after_each(nullptr);
}

TEST_F(SchedulerTest, AKilledServerIsSeenDeadAtOnce) {
  form(2, 1);
  ask(member(2), FrameKind::open_table, table_spec("w"), 1);
  ASSERT_TRUE(wait([&] { return !member(2).answers.empty(); }));
  const auto dead = member(0).id();
  const auto before = network_.now();
  kill(machine(0));
  ASSERT_TRUE(wait([&] { return member(2).link().view()->find_node(dead) == nullptr; }));
  EXPECT_LT(network_.now() - before, seconds(1));
  const auto& slots = member(2).link().view()->tables.at(0).slots;
  EXPECT_TRUE(slots.front().lost());
  EXPECT_EQ(slots.back().head(), member(1).id());
}

TEST_F(SchedulerTest, AStoppedServerIsSuspectAndKeepsItsSlots) {
  form(1, 1);
  ask(member(1), FrameKind::open_table, table_spec("w"), 1);
  ASSERT_TRUE(wait([&] { return !member(1).answers.empty(); }));
  const auto slots = scheduler_->view()->tables.at(0).slots;
  pause(machine(0));
  ASSERT_TRUE(wait([&] { return scheduler_->view()->nodes.at(0).state == NodeState::suspect; }));
  run(seconds(10));
  EXPECT_EQ(scheduler_->view()->tables.at(0).slots, slots);
  resume(machine(0));
  ASSERT_TRUE(wait([&] { return scheduler_->view()->nodes.at(0).state == NodeState::alive; }));
  EXPECT_EQ(scheduler_->view()->tables.at(0).slots, slots);
  EXPECT_TRUE(wait([&] { return everyone_has(scheduler_->view()->epoch); }));
}

TEST_F(SchedulerTest, AServerThatLostPowerIsLostAfterAWhile) {
  options_.membership.lost_after = seconds(6);
  form(2, 1);
  const auto dead = member(0).id();
  driver_.detach(machine(0).node);
  network_.isolate(machine(0).node);
  network_.isolate(machine(0).heart_node);
  ASSERT_TRUE(wait([&] { return scheduler_->view()->nodes.at(0).state == NodeState::suspect; }));
  run(seconds(2));
  EXPECT_NE(scheduler_->view()->find_node(dead), nullptr);
  EXPECT_TRUE(wait([&] { return scheduler_->view()->find_node(dead) == nullptr; }, seconds(8)));
  driver_.attach(machine(0).node, *machine(0).member);
}

TEST_F(SchedulerTest, AReportIsTriedByTheSchedulerItself) {
  form(2, 1);
  const auto accused = member(0).id();
  member(2).link().report_lost({accused, Incarnation(machine(0).incarnation)});
  run(seconds(3));
  ASSERT_NE(scheduler_->view()->find_node(accused), nullptr) << "it is alive";
  EXPECT_EQ(scheduler_->view()->find_node(accused)->state, NodeState::alive);
}

TEST_F(SchedulerTest, AWorkerThatWasCutOffIsToldSo) {
  form(1, 2);
  network_.isolate(machine(2).node);
  network_.isolate(machine(2).heart_node);
  const auto dropped = member(2).id();
  ASSERT_TRUE(wait([&] { return scheduler_->view()->find_node(dropped) == nullptr; }));
  network_.heal_all();
  EXPECT_TRUE(wait([&] { return member(2).refused == Errc::fenced; }));
}

TEST_F(SchedulerTest, StoppedItselfItTakesNobodyForSilent) {
  form(2, 2);
  const auto nodes = scheduler_->view()->nodes;
  network_.stop(scheduler_node_);
  run(3 * options_.membership.worker_lease);
  network_.resume(scheduler_node_);
  run(3 * options_.membership.worker_lease);
  EXPECT_EQ(scheduler_->view()->nodes, nodes);
}

TEST_F(SchedulerTest, ACollectiveTableWaitsForAllAtOneClock) {
  form(1, 2);
  ask(member(1), FrameKind::open_table, table_spec("w", Apply::collective), 1, 4);
  run(seconds(1));
  EXPECT_TRUE(member(1).answers.empty());
  ask(member(2), FrameKind::open_table, table_spec("w", Apply::collective), 2, 4);
  ASSERT_TRUE(wait([&] { return !member(1).answers.empty() && !member(2).answers.empty(); }));
  EXPECT_EQ(member(1).answers[0].code, Errc::ok);
  EXPECT_EQ(member(1).answers[0].table, member(2).answers[0].table);

  ask(member(1), FrameKind::open_table, table_spec("v", Apply::collective), 3, 4);
  ask(member(2), FrameKind::open_table, table_spec("v", Apply::collective), 4, 5);
  ASSERT_TRUE(wait([&] { return member(1).answers.size() == 2 && member(2).answers.size() == 2; }));
  EXPECT_EQ(member(1).answers[1].code, Errc::mismatch);
  EXPECT_NE(member(2).answers[1].text.find("unequal clocks"), std::string::npos);
}

TEST_F(SchedulerTest, ANewSchedulerTakesTheClusterUp) {
  form(2, 2);
  ask(member(2), FrameKind::open_table, table_spec("w"), 1);
  ask(member(2), FrameKind::barrier, Barrier{member(2).id(), 1}, 2);
  tick(member(2), 7);
  tick(member(3), 7);
  ASSERT_TRUE(wait([&] { return member(0).link().global_clock() == WorkerClock(7); }));
  const auto before = *scheduler_->view();
  kill_scheduler();
  run(seconds(3));
  tick(member(2), 9);
  start_scheduler(2, 2);
  EXPECT_TRUE(scheduler_->recovering());
  start(Role::worker);
  driver_.after_each([&] {
    if (scheduler_->recovering()) {
      ASSERT_FALSE(member(4).joined()) << "joined before all had reported";
    }
  });
  ASSERT_TRUE(wait([&] { return all_joined(); }));
  driver_.after_each(nullptr);
  EXPECT_EQ(scheduler_->view()->epoch.term, before.epoch.term + 1);
  EXPECT_EQ(scheduler_->view()->tables, before.tables);
  EXPECT_GE(member(4).link().joined()->start, WorkerClock(7 + 2));
  // The barrier's first arrival is repeated by its session.
  ask(member(3), FrameKind::barrier, Barrier{member(3).id(), 1}, 3);
  ask(member(4), FrameKind::barrier, Barrier{member(4).id(), 1}, 4);
  EXPECT_TRUE(wait([&] { return member(2).answers.size() == 2 && !member(3).answers.empty(); }));
}

/// Asks for the view in full, as a node does that got a delta which does not fit: names no epoch.
class Asker final : public Pollable {
 public:
  Asker(std::unique_ptr<Transport> transport, Session::Options options)
      : transport_(std::move(transport)), session_(*transport_, std::move(options)), events_(16) {
    FrameHeader header;
    header.kind = FrameKind::get_view;
    EXPECT_TRUE(session_.request(header, {}, {}, 1).ok());
  }
  ~Asker() override { session_.close(); }
  bool poll(TimePoint now) override {
    const auto count = transport_->poll(events_);
    for (std::size_t i = 0; i < count; ++i) {
      Incoming incoming;
      if (!session_.handle(events_[i], now, incoming)) continue;
      if (incoming.kind != Incoming::Kind::answer) continue;
      status = incoming.status;
      flags = incoming.frame.header.flags;
    }
    session_.poll(now);
    transport_->flush();
    return count > 0;
  }
  TimePoint next_timer() const override {
    return std::min(session_.next_timer(), transport_->next_timer());
  }
  Transport& transport() override { return *transport_; }

  std::optional<Errc> status;
  std::uint16_t flags = 0;

 private:
  std::unique_ptr<Transport> transport_;
  Session session_;
  std::vector<Event> events_;
};

TEST_F(SchedulerTest, WhoAsksForAllOfTheViewGetsNoDelta) {
  form(1, 1);
  kill_scheduler();
  start_scheduler(1, 1);
  Session::Options options;
  options.peer = address_;
  options.hello = {member(1).id(), Incarnation(machines_[1]->incarnation), Role::worker, {}, {}};
  const auto node = network_.create_node("asker");
  Asker asker(network_.start(node), options);
  driver_.attach(node, asker);
  ASSERT_TRUE(wait([&] { return asker.status.has_value(); }, seconds(1)));
  EXPECT_EQ(*asker.status, Errc::ok);
  EXPECT_EQ(asker.flags & frame_flag::kDelta, 0);
  driver_.detach(node);
}

TEST_F(SchedulerTest, LeavingIsAnsweredAndDoesNotWaitForTheLease) {
  form(1, 2);
  const auto left = member(2).id();
  ask(member(2), FrameKind::leave, Leave{left}, 1);
  ASSERT_TRUE(wait([&] { return !member(2).answers.empty(); }, seconds(1)));
  EXPECT_EQ(scheduler_->view()->find_worker(left), nullptr);
  ask(member(1), FrameKind::leave, Leave{member(0).id()}, 1);
  ASSERT_TRUE(wait([&] { return !member(1).answers.empty(); }));
  EXPECT_EQ(member(1).answers[0].code, Errc::protocol) << "nobody leaves for another";
  EXPECT_NE(scheduler_->view()->find_node(member(0).id()), nullptr);
}

/// A person's tool: an observer that joins nothing.
class Tool final : public Pollable {
 public:
  Tool(std::unique_ptr<Transport> transport, const Address& scheduler)
      : transport_(std::move(transport)), session_(*transport_, options(scheduler)), events_(16) {}
  bool poll(TimePoint now) override {
    session_.poll(now);
    const auto count = transport_->poll(events_);
    for (std::size_t i = 0; i < count; ++i) {
      Incoming incoming;
      if (session_.handle(events_[i], now, incoming) && incoming.kind == Incoming::Kind::answer)
        answers.push_back(static_cast<Errc>(incoming.frame.header.status));
    }
    transport_->flush();
    return count > 0;
  }
  TimePoint next_timer() const override {
    return std::min(session_.next_timer(), transport_->next_timer());
  }
  Transport& transport() override { return *transport_; }

  void ask(FrameKind kind, NodeId leaver, TableId table = {}) {
    std::array<std::byte, kSmallMessageBytesMax> meta;
    Writer out(meta);
    if (kind == FrameKind::leave) encode(out, Leave{leaver});
    FrameHeader header;
    header.kind = kind;
    header.table = table;
    ASSERT_TRUE(session_.request(header, out.written(), {}, 0).ok());
  }
  std::vector<Errc> answers;

 private:
  static Session::Options options(const Address& scheduler) {
    Session::Options options;
    options.peer = scheduler;
    options.hello.role = Role::observer;
    options.hello.incarnation = Incarnation(77);
    return options;
  }
  std::unique_ptr<Transport> transport_;
  Session session_;
  std::vector<Event> events_;
};

TEST_F(SchedulerTest, AToolDropsTablesAndLeavesForWorkersOnly) {
  form(1, 2);
  ask(member(1), FrameKind::open_table, table_spec("w"), 1);
  ASSERT_TRUE(wait([&] { return !member(1).answers.empty(); }));
  const auto node = network_.create_node("tool");
  Tool tool(network_.start(node), address_);
  driver_.attach(node, tool);
  const auto ask_tool = [&](FrameKind kind, NodeId leaver, TableId table = {}) {
    tool.answers.clear();
    tool.ask(kind, leaver, table);
    return wait([&] { return !tool.answers.empty(); }) ? tool.answers[0] : Errc::timed_out;
  };
  EXPECT_EQ(ask_tool(FrameKind::drop_table, {}, member(1).answers[0].table), Errc::ok);
  EXPECT_TRUE(scheduler_->view()->tables.empty());
  EXPECT_EQ(ask_tool(FrameKind::leave, member(0).id()), Errc::protocol);
  EXPECT_NE(scheduler_->view()->find_node(member(0).id()), nullptr) << "a server's end is seen";
  const auto dead = member(2).id();
  kill(machine(2));
  EXPECT_EQ(ask_tool(FrameKind::leave, dead), Errc::ok);
  EXPECT_EQ(scheduler_->view()->find_node(dead), nullptr);
  EXPECT_EQ(ask_tool(FrameKind::leave, dead), Errc::ok) << "once more";
  driver_.detach(node);
}

TEST_F(SchedulerTest, StatusShowsTheCluster) {
  form(1, 2);
  ask(member(1), FrameKind::open_table, table_spec("w"), 1);
  tick(member(1), 3);
  tick(member(2), 2);
  ASSERT_TRUE(wait([&] { return scheduler_->global_clock() == WorkerClock(2); }));
  ask_raw(member(1), FrameKind::status, {}, 2);
  ASSERT_TRUE(wait([&] { return member(1).answers.size() == 2; }));
  const auto status = nlohmann::json::parse(member(1).answers[1].text);
  EXPECT_EQ(status["global_clock"], 2);
  EXPECT_EQ(status["straggler"], member(2).id().value);
  EXPECT_EQ(status["nodes"].size(), 3u);
  tick(member(2), 3);
  ASSERT_TRUE(wait([&] { return scheduler_->global_clock() == WorkerClock(3); }));
  ask_raw(member(1), FrameKind::status, {}, 3);
  ASSERT_TRUE(wait([&] { return member(1).answers.size() == 3; }));
  EXPECT_EQ(nlohmann::json::parse(member(1).answers[2].text)["straggler"], 0) << "all are there";
  EXPECT_EQ(status["tables"][0]["name"], "w");
  EXPECT_EQ(status["tables"][0]["placement"][0]["server"], member(0).id().value);
  for (const auto& node : status["nodes"])
    if (node["id"] == member(1).id().value) {
      EXPECT_EQ(node["reported"], 3);
    }
}

TEST_F(SchedulerTest, AStatusLongerThanAMessageArrivesWhole) {
  form(1, 1);
  for (int i = 0; i < 300; ++i)
    ask(member(1), FrameKind::open_table, table_spec(std::string(200, 'x') + std::to_string(i)),
        static_cast<std::uint64_t>(i));
  ASSERT_TRUE(wait([&] { return member(1).answers.size() == 300; }, seconds(60)));
  ask_raw(member(1), FrameKind::status, {}, 1000);
  ASSERT_TRUE(wait([&] { return member(1).answers.size() == 301; }));
  const auto& text = member(1).answers.back().text;
  EXPECT_GT(text.size(), Transport::kCopyMax);
  const auto status = nlohmann::json::parse(text);
  EXPECT_EQ(status["tables_total"], 300);
  EXPECT_EQ(status["tables"].size(), 256u);
}

/// Fails while it is told to.
class FullDisk final : public ViewStore {
 public:
  Status save(const StoredView& stored) override {
    if (full) return Error{Errc::io, "cannot write", ENOSPC};
    return disk.save(stored);
  }
  Result<std::optional<StoredView>> load() override { return disk.load(); }
  bool full = false;
  MemoryViewStore disk;
};

TEST_F(SchedulerTest, WhileViewsCannotBeStoredNothingIsSaid) {
  FullDisk disk;
  store_ = &disk;
  form(1, 2);
  const auto epoch = scheduler_->view()->epoch;
  disk.full = true;
  ask(member(2), FrameKind::leave, Leave{member(2).id()}, 1);
  tick(member(1), 5);
  run(seconds(5));
  EXPECT_TRUE(member(2).answers.empty());
  EXPECT_EQ(scheduler_->view()->epoch, epoch);
  EXPECT_EQ(member(0).link().global_clock(), WorkerClock(0))
      << "G without the leaver belongs to a view that nobody has";
  const std::string trouble = "cannot store its view: cannot write";
  ask_raw(member(1), FrameKind::status, {}, 2);
  ASSERT_TRUE(wait([&] { return !member(1).answers.empty(); }));
  const auto status = nlohmann::json::parse(member(1).answers.back().text);
  EXPECT_NE(status["trouble"].get<std::string>().find(trouble), std::string::npos) << status;
  auto& late = *start(Role::worker).member;
  EXPECT_TRUE(wait([&] { return late.link().explain().find(trouble) != std::string::npos; }));
  disk.full = false;
  EXPECT_TRUE(wait([&] { return !member(2).answers.empty(); }));
  EXPECT_TRUE(wait([&] { return member(0).link().global_clock() == WorkerClock(5); }));
  EXPECT_TRUE(wait([&] { return late.joined(); }));
  ask_raw(member(1), FrameKind::status, {}, 3);
  ASSERT_TRUE(wait([&] { return member(1).answers.size() == 2; }));
  EXPECT_EQ(nlohmann::json::parse(member(1).answers.back().text)["trouble"], "");
  for (auto& machine : machines_) kill(*machine);
  kill_scheduler();
}

TEST_F(SchedulerTest, NonsenseIsAnsweredAndHarmsNobody) {
  form(1, 1);
  const std::vector<std::byte> garbage(33, std::byte{0xee});
  std::uint64_t context = 0;
  for (const auto kind :
       {FrameKind::join, FrameKind::open_table, FrameKind::set_parameter, FrameKind::barrier,
        FrameKind::leave, FrameKind::heartbeat, FrameKind::push})
    ask_raw(member(1), kind, garbage, context++);
  ASSERT_TRUE(wait([&] { return member(1).answers.size() == context; }));
  for (const auto& answer : member(1).answers) EXPECT_EQ(answer.code, Errc::protocol);
  EXPECT_EQ(scheduler_->view()->nodes.size(), 2u);
}

TEST_F(SchedulerTest, AThousandJoinsOfOnePeerAreBounded) {
  start_scheduler(1, 2);
  auto& peer = start(Role::server);
  ASSERT_TRUE(wait([&] { return peer.member->joined(); }));
  for (std::uint64_t i = 0; i < 200; ++i)
    ask(*peer.member, FrameKind::join, Join{Role::worker, Incarnation(1), "w", {}}, i);
  run(seconds(1));
  EXPECT_FALSE(scheduler_->view()->formed) << "one incarnation is one worker";
}

}  // namespace
}  // namespace shoal
