#include "transport/scheduler_link.h"

#include <gtest/gtest.h>

#include "tests/transport/fake_transport.h"

// A node's link to its scheduler, and its heart, against a scheduler that the test plays.

namespace shoal {
namespace {

using namespace std::chrono_literals;
using test::at_ms;
using test::FakeTransport;
using test::header_of;
using test::meta_of;
using Change = SchedulerLink::Change;

ClusterView view_at(Epoch epoch, std::int64_t g = 0) {
  ClusterView view;
  view.epoch = epoch;
  view.global_clock = WorkerClock(g);
  view.formed = true;
  NodeInfo server;
  server.id = NodeId(1);
  server.incarnation = Incarnation(11);
  server.name = "server 0";
  server.address = "server:7000";
  view.nodes.push_back(server);
  NodeInfo worker;
  worker.id = NodeId(2);
  worker.role = Role::worker;
  worker.incarnation = Incarnation(22);
  worker.name = "worker 0";
  view.nodes.push_back(worker);
  view.roster.push_back({NodeId(2), Rank(0), WorkerClock(0), 0});
  return view;
}

class SchedulerLinkTest : public testing::Test {
 protected:
  static SchedulerLink::Options options() {
    SchedulerLink::Options o;
    o.scheduler = {"scheduler", 7000};
    o.join = {Role::worker, Incarnation(22), "worker 0", ""};
    o.token_source = "token_file = 'ours'";
    o.silence = 3s;
    return o;
  }
  void poll() {
    link.poll(now);
    if (transport.connected.size() == connections) return;
    connections = transport.connected.size();
    endpoint = transport.connected.back();
  }
  /// Lets the link's own timers come, up to `until`.
  void run_to(TimePoint until) {
    for (int turns = 0; link.next_timer() <= until && turns < 10000; ++turns) {
      now = std::max(now, link.next_timer());
      poll();
    }
    now = until;
    poll();
  }
  Change handle(const Event& event) {
    Change change;
    EXPECT_TRUE(link.handle(event, now, change));
    return change;
  }
  Change say(const FrameHeader& header, std::span<const std::byte> meta = {},
             std::span<const std::byte> payload = {}) {
    return handle(FakeTransport::message(endpoint, header, meta, payload));
  }
  /// Until the link is greeted by a scheduler.
  void open() {
    const auto before = connections;
    for (int i = 0; i < 100 && connections == before; ++i) {
      now = std::max(now, link.next_timer());
      poll();
    }
    ASSERT_GT(connections, before);
    handle(FakeTransport::event(Event::Kind::connected, endpoint));
    hello = decode<Hello>(transport.last().meta).value();
    say(header_of(FrameKind::welcome), meta_of(Welcome{{}, Incarnation(99), 16, 16}));
  }
  void lose_connection() {
    handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::peer_lost));
  }
  Change answer(RequestId id, Errc status = Errc::ok, std::span<const std::byte> meta = {},
                std::string_view text = {}, std::uint16_t flags = 0, Epoch epoch = {}) {
    auto header = header_of(FrameKind::answer, id, 1, status);
    header.flags = flags;
    header.epoch = epoch.packed();
    return say(header, meta, std::as_bytes(std::span(text)));
  }
  /// The newest frame of that kind since forget(); none: null.
  const FakeTransport::Sent* find(FrameKind kind) {
    for (auto i = transport.sent_count(); i-- > 0;)
      if (transport.sent(i).header.kind == kind) return &transport.sent(i);
    return nullptr;
  }
  std::size_t count(FrameKind kind) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < transport.sent_count(); ++i)
      n += transport.sent(i).header.kind == kind ? 1 : 0;
    return n;
  }
  std::vector<std::byte> joined_with(const ClusterView& view) {
    auto meta = meta_of(Joined{NodeId(2), Rank(0), WorkerClock(0), 2s, 250ms});
    const auto bytes = encode_view(view);
    meta.insert(meta.end(), bytes.begin(), bytes.end());
    return meta;
  }
  void join(const ClusterView& view = view_at({1, 5}, 3)) {
    open();
    const auto* sent = find(FrameKind::join);
    ASSERT_NE(sent, nullptr);
    const auto change = answer(sent->header.request, Errc::ok, joined_with(view));
    ASSERT_TRUE(change.joined);
    current = view;
    transport.forget();
  }
  Change view_notice(const ClusterView& view) {
    auto header = header_of(FrameKind::view);
    header.epoch = view.epoch.packed();
    return say(header, encode_view(view));
  }
  Change delta_notice(const ClusterView& from, const ClusterView& to) {
    auto header = header_of(FrameKind::view);
    header.flags = frame_flag::kDelta;
    header.epoch = to.epoch.packed();
    return say(header, encode_delta(from, to));
  }
  Change clock_notice(Epoch epoch, std::int64_t g, std::uint32_t holder = 2) {
    auto header = header_of(FrameKind::global_clock);
    header.epoch = epoch.packed();
    header.clock = WorkerClock(g);
    return say(header, meta_of(GlobalClock{NodeId(holder), 1}));
  }

  FakeTransport transport;
  SchedulerLink link{transport, options()};
  TimePoint now = at_ms(1000);
  std::size_t connections = 0;
  EndpointId endpoint;
  Hello hello;
  ClusterView current;
};

TEST_F(SchedulerLinkTest, JoinsAndGetsTheView) {
  open();
  EXPECT_EQ(hello.node, NodeId(0));
  EXPECT_EQ(hello.incarnation, Incarnation(22));
  const auto* sent = find(FrameKind::join);
  ASSERT_NE(sent, nullptr);
  const auto join = decode<Join>(sent->meta).value();
  EXPECT_EQ(join.name, "worker 0");
  EXPECT_EQ(join.incarnation, Incarnation(22));
  EXPECT_FALSE(link.joined());
  const auto change = answer(sent->header.request, Errc::ok, joined_with(view_at({1, 5}, 3)));
  EXPECT_TRUE(change.joined && change.view && change.global_clock);
  EXPECT_EQ(link.joined()->node, NodeId(2));
  EXPECT_EQ(*link.view(), view_at({1, 5}, 3));
  EXPECT_EQ(link.global_clock(), WorkerClock(3));
  EXPECT_TRUE(link.in_touch(now));
}

TEST_F(SchedulerLinkTest, AJoinThatIsLostIsRepeated) {
  open();
  const auto first = find(FrameKind::join)->header.request;
  lose_connection();
  transport.forget();
  open();
  EXPECT_EQ(find(FrameKind::join)->header.request, first);
  EXPECT_EQ(count(FrameKind::join), 1u);
}

TEST_F(SchedulerLinkTest, AJoinIsRefusedOrPutOff) {
  open();
  auto change = answer(find(FrameKind::join)->header.request, Errc::not_ready);
  EXPECT_EQ(change.refused, Errc::ok);
  transport.forget();
  run_to(now + 200ms);
  ASSERT_NE(find(FrameKind::join), nullptr);  // asked again
  change = answer(find(FrameKind::join)->header.request, Errc::exists, {}, "the name is taken");
  EXPECT_EQ(change.refused, Errc::exists);
  EXPECT_EQ(change.why, "the name is taken");
  transport.forget();
  run_to(now + 900ms);
  EXPECT_EQ(find(FrameKind::join), nullptr);
}

TEST_F(SchedulerLinkTest, AJoinThatIsNotAnsweredYetSaysWhatItWaitsFor) {
  open();
  run_to(now + 150ms);
  ASSERT_EQ(count(FrameKind::get_view), 1u);
  answer(find(FrameKind::get_view)->header.request, Errc::not_ready, {}, "1 worker is missing");
  EXPECT_NE(link.explain().find("not joined: 1 worker is missing"), std::string::npos);
  run_to(now + 900ms);
  ASSERT_EQ(count(FrameKind::get_view), 1u);
  run_to(now + 200ms);
  ASSERT_EQ(count(FrameKind::get_view), 2u);
  answer(find(FrameKind::get_view)->header.request, Errc::not_ready, {}, "nobody is");
  EXPECT_NE(link.explain().find("not joined: nobody is"), std::string::npos);
}

TEST_F(SchedulerLinkTest, AViewBeforeTheJoinIsNotTaken) {
  open();  // the roster forms slowly: the join stays unanswered
  run_to(now + 1100ms);
  ASSERT_EQ(count(FrameKind::get_view), 1u);  // the ping of a silent connection
  const auto change = answer(find(FrameKind::get_view)->header.request, Errc::ok,
                             encode_view(view_at({1, 4})), {}, 0, {1, 4});
  EXPECT_FALSE(change.view);
  EXPECT_EQ(link.view(), nullptr);
  EXPECT_TRUE(
      answer(find(FrameKind::join)->header.request, Errc::ok, joined_with(view_at({1, 4}))).joined);
  EXPECT_EQ(link.view()->epoch, (Epoch{1, 4}));
}

TEST_F(SchedulerLinkTest, AnotherWireVersionIsARefusal) {
  poll();
  const auto change = handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::version));
  EXPECT_EQ(change.refused, Errc::version);
  EXPECT_NE(change.why.find("scheduler:7000"), std::string::npos);
}

TEST_F(SchedulerLinkTest, AnotherTokenIsARefusalThatSaysWhatToCheck) {
  poll();
  const auto change = handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::untrusted));
  EXPECT_EQ(change.refused, Errc::refused);
  EXPECT_NE(change.why.find("scheduler:7000"), std::string::npos);
  EXPECT_NE(change.why.find("token_file = 'ours'"), std::string::npos);
  run_to(now + 10s);
  EXPECT_EQ(connections, 1u) << "nothing is tried again";
}

TEST_F(SchedulerLinkTest, AStrangerAtTheSchedulersPortSendsNobodyHomeWhoHasJoined) {
  join();
  handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::peer_lost));
  run_to(now + 100ms);
  EXPECT_EQ(connections, 2u);
  const auto change = handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::untrusted));
  EXPECT_EQ(change.refused, Errc::ok);
  run_to(now + 1s);
  EXPECT_EQ(connections, 3u);
}

TEST_F(SchedulerLinkTest, ASchedulerThatIsNotThereYetIsTriedAgain) {
  poll();
  const auto change = handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::refused));
  EXPECT_EQ(change.refused, Errc::ok);
  EXPECT_NE(link.explain().find("scheduler:7000"), std::string::npos);
  EXPECT_NE(link.explain().find("refused"), std::string::npos);
  EXPECT_TRUE(link.port_refuses());
  join();
  EXPECT_FALSE(link.port_refuses());
  lose_connection();
  EXPECT_FALSE(link.port_refuses()) << "not known yet";
}

TEST_F(SchedulerLinkTest, ViewsGoOnlyForward) {
  join();
  auto next = view_at({1, 6}, 4);
  next.nodes[0].state = NodeState::suspect;
  auto change = delta_notice(current, next);
  EXPECT_TRUE(change.view && change.global_clock);
  EXPECT_EQ(*link.view(), next);
  EXPECT_FALSE(view_notice(view_at({1, 4})).view);
  EXPECT_FALSE(delta_notice(current, next).view);
  EXPECT_EQ(*link.view(), next);
  EXPECT_EQ(find(FrameKind::get_view), nullptr);
  EXPECT_TRUE(view_notice(view_at({1, 9}, 4)).view);
  EXPECT_EQ(link.view()->epoch, (Epoch{1, 9}));
  EXPECT_FALSE(link.global_clock() > WorkerClock(4));
}

TEST_F(SchedulerLinkTest, ADeltaThatDoesNotFitIsReplacedByTheFullView) {
  join();
  EXPECT_FALSE(delta_notice(view_at({1, 7}), view_at({1, 8})).view);
  const auto* ask = find(FrameKind::get_view);
  ASSERT_NE(ask, nullptr);
  EXPECT_EQ(ask->header.epoch, 0u);
  const auto change =
      answer(ask->header.request, Errc::ok, encode_view(view_at({1, 8})), {}, 0, {1, 8});
  EXPECT_TRUE(change.view);
  EXPECT_FALSE(change.answered);  // the owner did not ask
  EXPECT_EQ(link.view()->epoch, (Epoch{1, 8}));
}

TEST_F(SchedulerLinkTest, AViewOfNonsenseChangesNothing) {
  join();
  auto header = header_of(FrameKind::view);
  header.epoch = Epoch{1, 9}.packed();
  const std::vector<std::byte> junk(100, std::byte{0xff});
  EXPECT_FALSE(say(header, junk).view);
  header.flags = frame_flag::kDelta;
  EXPECT_FALSE(say(header, junk).view);
  EXPECT_EQ(*link.view(), current);
  EXPECT_EQ(count(FrameKind::get_view), 1u);
}

TEST_F(SchedulerLinkTest, APeersViewIsAsGoodAsTheSchedulers) {
  join();
  const auto seven = view_at({1, 7}, 9);
  auto header = header_of(FrameKind::answer);
  header.epoch = seven.epoch.packed();
  header.flags = frame_flag::kDelta;
  Change change;
  link.offer_view(header, encode_delta(current, seven), change);
  EXPECT_TRUE(change.view && change.global_clock);
  EXPECT_EQ(*link.view(), seven);
  link.want_view(seven.epoch);
  // What is old, does not fit or is nonsense is left: whoever needs it asks the scheduler.
  Change none;
  link.offer_view(header, encode_delta(current, seven), none);
  header.epoch = Epoch{1, 9}.packed();
  link.offer_view(header, encode_delta(view_at({1, 8}), view_at({1, 9})), none);
  header.flags = 0;
  link.offer_view(header, std::vector<std::byte>(100, std::byte{0xff}), none);
  link.offer_view(header, {}, none);
  EXPECT_FALSE(none.view || none.global_clock);
  EXPECT_EQ(*link.view(), seven);
  EXPECT_EQ(find(FrameKind::get_view), nullptr);
}

TEST_F(SchedulerLinkTest, AsksForAViewThatOthersHave) {
  join();
  link.want_view({1, 5});
  EXPECT_EQ(find(FrameKind::get_view), nullptr);  // has it
  link.want_view({1, 7});
  link.want_view({1, 6});
  ASSERT_EQ(count(FrameKind::get_view), 1u);
  EXPECT_EQ(find(FrameKind::get_view)->header.epoch, (Epoch{1, 5}.packed()));
  const auto six = view_at({1, 6});
  answer(find(FrameKind::get_view)->header.request, Errc::ok, encode_delta(current, six), {},
         frame_flag::kDelta, {1, 6});
  EXPECT_EQ(link.view()->epoch, (Epoch{1, 6}));
  transport.forget();
  run_to(now + 100ms);  // still one short
  ASSERT_EQ(count(FrameKind::get_view), 1u);
  answer(find(FrameKind::get_view)->header.request, Errc::ok, encode_view(view_at({1, 7})), {}, 0,
         {1, 7});
  transport.forget();
  run_to(now + 100ms);
  EXPECT_EQ(count(FrameKind::get_view), 0u);
}

TEST_F(SchedulerLinkTest, TheGlobalClockWaitsForItsView) {
  join();
  EXPECT_TRUE(clock_notice({1, 5}, 4).global_clock);
  EXPECT_EQ(link.global_clock(), WorkerClock(4));
  EXPECT_EQ(link.global_clock_info().holder, NodeId(2));
  EXPECT_FALSE(clock_notice({1, 6}, 5).global_clock);
  EXPECT_FALSE(clock_notice({1, 7}, 6).global_clock);
  EXPECT_EQ(link.global_clock(), WorkerClock(4));
  EXPECT_EQ(count(FrameKind::get_view), 1u);  // it does not wait for luck
  EXPECT_FALSE(view_notice(view_at({1, 6})).global_clock);
  EXPECT_EQ(link.global_clock(), WorkerClock(4));
  EXPECT_TRUE(view_notice(view_at({1, 7})).global_clock);
  EXPECT_EQ(link.global_clock(), WorkerClock(6));
  EXPECT_FALSE(clock_notice({1, 7}, 5).global_clock);  // never back
  EXPECT_EQ(link.global_clock(), WorkerClock(6));
}

TEST_F(SchedulerLinkTest, TheNewestTickIsRepeated) {
  link.tick({NodeId(2), WorkerClock(0), WorkerClock(1), 0, 0});
  join();
  link.tick({NodeId(2), WorkerClock(1), WorkerClock(2), 0, 0});
  link.tick({NodeId(2), WorkerClock(2), WorkerClock(3), 10, 20});
  ASSERT_EQ(count(FrameKind::tick), 2u);
  EXPECT_EQ(find(FrameKind::tick)->header.clock, WorkerClock(2));
  EXPECT_EQ(find(FrameKind::tick)->header.epoch, (Epoch{1, 5}.packed()));
  lose_connection();
  transport.forget();
  link.tick({NodeId(2), WorkerClock(3), WorkerClock(4), 10, 20});
  EXPECT_EQ(count(FrameKind::tick), 0u);
  open();
  ASSERT_EQ(count(FrameKind::tick), 1u);
  const auto tick = decode<Tick>(find(FrameKind::tick)->meta).value();
  EXPECT_EQ(tick.reported, WorkerClock(3));
  EXPECT_EQ(tick.bytes_pulled, 20u);
  transport.forget();
  run_to(now + 500ms);
  EXPECT_EQ(count(FrameKind::tick), 0u);
}

TEST_F(SchedulerLinkTest, ATickForWhichThereIsNoRoomIsNotForgotten) {
  join();
  transport.room = 0;
  link.tick({NodeId(2), WorkerClock(1), WorkerClock(2), 0, 0});
  EXPECT_EQ(count(FrameKind::tick), 0u);
  transport.room = 10;
  run_to(now + 10ms);
  EXPECT_EQ(count(FrameKind::tick), 1u);
}

TEST_F(SchedulerLinkTest, ALossIsReportedUntilTheViewHasIt) {
  join();
  link.report_lost({NodeId(1), Incarnation(11)});
  link.report_lost({NodeId(1), Incarnation(11)});
  ASSERT_GE(count(FrameKind::report_lost), 1u);
  lose_connection();
  transport.forget();
  open();
  ASSERT_EQ(count(FrameKind::report_lost), 1u);
  EXPECT_EQ(decode<ReportLost>(find(FrameKind::report_lost)->meta).value().node, NodeId(1));
  auto without = view_at({1, 6});
  without.nodes.erase(without.nodes.begin());
  EXPECT_TRUE(view_notice(without).view);
  lose_connection();
  transport.forget();
  open();
  EXPECT_EQ(count(FrameKind::report_lost), 0u);
}

TEST_F(SchedulerLinkTest, ARestartedSchedulerIsToldAndAsked) {
  join();
  link.tick({NodeId(2), WorkerClock(7), WorkerClock(8), 0, 0});
  const auto id = link.request(FrameKind::barrier, {}, meta_of(Barrier{NodeId(2), 1}), 42).value();
  lose_connection();
  transport.forget();
  open();
  EXPECT_EQ(hello.node, NodeId(2));
  EXPECT_EQ(hello.incarnation, Incarnation(22));
  EXPECT_EQ(count(FrameKind::join), 0u);
  EXPECT_EQ(count(FrameKind::tick), 1u);
  ASSERT_EQ(count(FrameKind::barrier), 1u);
  EXPECT_EQ(find(FrameKind::barrier)->header.request, id);
  ASSERT_EQ(count(FrameKind::get_view), 1u);
  const auto change = answer(find(FrameKind::get_view)->header.request, Errc::ok,
                             encode_view(view_at({2, 0}, 3)), {}, 0, {2, 0});
  EXPECT_TRUE(change.view);
  EXPECT_EQ(link.view()->epoch, (Epoch{2, 0}));
  const auto done = answer(id, Errc::ok, {}, "text");
  EXPECT_TRUE(done.answered);
  EXPECT_EQ(done.answer.context, 42u);
  EXPECT_EQ(done.answer.frame.payload.size(), 4u);
}

TEST_F(SchedulerLinkTest, ASchedulerThatDoesNotKnowUsEndsIt) {
  join();
  lose_connection();
  transport.forget();
  open();
  const auto change = answer(find(FrameKind::get_view)->header.request, Errc::fenced);
  EXPECT_EQ(change.refused, Errc::fenced);
  EXPECT_FALSE(change.why.empty());
}

TEST_F(SchedulerLinkTest, SilenceIsTriedAndThenEndsTheConnection) {
  join();
  const auto heard = now;
  run_to(heard + 1100ms);
  ASSERT_EQ(count(FrameKind::get_view), 1u);
  answer(find(FrameKind::get_view)->header.request, Errc::unchanged);
  transport.forget();
  const auto again = now;
  EXPECT_TRUE(link.in_touch(again + 2900ms));
  EXPECT_FALSE(link.in_touch(again + 3100ms));
  run_to(again + 4400ms);
  EXPECT_EQ(count(FrameKind::get_view), 1u);  // not one more while the first is unanswered
  EXPECT_TRUE(transport.closed.empty());
  const auto old = endpoint;
  run_to(again + 4600ms);
  EXPECT_EQ(transport.closed, std::vector{old});
  EXPECT_GT(transport.connected.back(), old);
}

TEST(Heart, BeatsOneAtATime) {
  FakeTransport transport;
  std::atomic<std::uint64_t> turns{5};
  Heart::Options options;
  options.scheduler = {"scheduler", 7000};
  options.node = NodeId(2);
  options.incarnation = Incarnation(22);
  options.beat = 100ms;
  Heart heart(transport, options, turns);
  auto now = at_ms(1000);
  heart.poll(now);
  ASSERT_EQ(transport.connected.size(), 1u);
  auto endpoint = transport.connected[0];
  const auto greet = [&] {
    transport.incoming = {FakeTransport::event(Event::Kind::connected, endpoint)};
    heart.poll(now);
    EXPECT_EQ(decode<Hello>(transport.last().meta).value().node, NodeId(0));
    transport.forget();
    const auto welcome = meta_of(Welcome{{}, Incarnation(99), 16, 16});
    transport.incoming = {FakeTransport::message(endpoint, header_of(FrameKind::welcome), welcome)};
    heart.poll(now);
  };
  greet();
  ASSERT_EQ(transport.sent_count(), 1u);
  auto beat = decode<Heartbeat>(transport.last().meta).value();
  EXPECT_EQ(beat.node, NodeId(2));
  EXPECT_EQ(beat.turns, 5u);
  now += 250ms;
  heart.poll(now);
  EXPECT_EQ(transport.sent_count(), 1u);  // the first is unanswered
  turns = 9;
  transport.incoming = {FakeTransport::message(
      endpoint, header_of(FrameKind::answer, transport.last().header.request, 1))};
  heart.poll(now);
  ASSERT_EQ(transport.sent_count(), 2u);
  EXPECT_EQ(decode<Heartbeat>(transport.last().meta).value().turns, 9u);
  transport.incoming = {FakeTransport::message(
      endpoint, header_of(FrameKind::answer, transport.last().header.request, 1))};
  heart.poll(now);
  EXPECT_EQ(transport.sent_count(), 2u);
  EXPECT_EQ(heart.next_timer(), now + 100ms);
  now += 100ms;
  heart.poll(now);
  EXPECT_EQ(transport.sent_count(), 3u);
  // No answer: the connection is tried anew, and the beat repeated.
  now = heart.next_timer();
  EXPECT_EQ(now, at_ms(1750));
  heart.poll(now);
  EXPECT_EQ(transport.closed, std::vector{endpoint});
  for (int i = 0; i < 10 && transport.connected.size() == 1; ++i) {
    now = std::max(now, heart.next_timer());
    heart.poll(now);
  }
  ASSERT_EQ(transport.connected.size(), 2u);
  endpoint = transport.connected[1];
  greet();
  EXPECT_EQ(transport.sent_count(), 1u);
  EXPECT_EQ(transport.last().header.kind, FrameKind::heartbeat);
}

}  // namespace
}  // namespace shoal
