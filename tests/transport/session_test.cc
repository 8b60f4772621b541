#include "transport/session.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/allocations.h"
#include "tests/transport/contract.h"
#include "tests/transport/fake_transport.h"

// The requesting side, frame by frame.

namespace shoal {
namespace {

using test::at_ms;
using test::FakeTransport;
using test::header_of;
using test::meta_of;

constexpr Incarnation kPeer{77};

class SessionTest : public testing::Test {
 protected:
  static Session::Options options(std::uint32_t requests_max = 8) {
    Session::Options o;
    o.peer = {"server", 7000};
    o.hello = {NodeId(3), Incarnation(33), Role::worker, NodeId(5), kPeer};
    o.requests_max = requests_max;
    return o;
  }
  Incoming handle(const Event& event) {
    Incoming incoming;
    EXPECT_TRUE(session.handle(event, now, incoming));
    return incoming;
  }
  /// Connects, up to the hello.
  void connect() {
    for (int i = 0; i < 1000 && transport.connected.size() == tries; ++i) {
      now = std::max(now, std::min(session.next_timer(), now + std::chrono::seconds(2)));
      session.poll(now);
    }
    tries = transport.connected.size();
    endpoint = transport.connected.back();
    handle(FakeTransport::event(Event::Kind::connected, endpoint));
    ASSERT_EQ(transport.last().header.kind, FrameKind::hello);
  }
  Incoming welcome(std::uint32_t credits, Errc status = Errc::ok, Incarnation who = kPeer) {
    const auto meta = meta_of(Welcome{NodeId(5), who, credits, 16});
    return handle(
        FakeTransport::message(endpoint, header_of(FrameKind::welcome, {}, 0, status), meta));
  }
  void open(std::uint32_t credits = 4) {
    connect();
    ASSERT_EQ(welcome(credits).kind, Incoming::Kind::opened);
  }
  RequestId request(std::uint64_t context, std::string_view text = "meta") {
    FrameHeader header = header_of(FrameKind::push);
    header.epoch = Epoch{1, 5}.packed();
    header.table = TableId(9);
    return session.request(header, std::as_bytes(std::span(text)), {}, context).value();
  }
  Incoming answer(RequestId id, std::uint32_t credits = 1) {
    return handle(FakeTransport::message(endpoint, header_of(FrameKind::answer, id, credits)));
  }
  /// Ids of the requests sent since forget().
  std::vector<RequestId> sent() {
    std::vector<RequestId> ids;
    for (std::size_t i = 0; i < transport.sent_count(); ++i)
      if (transport.sent(i).header.kind == FrameKind::push)
        ids.push_back(transport.sent(i).header.request);
    return ids;
  }

  FakeTransport transport;
  Session session{transport, options()};
  TimePoint now = at_ms(1000);
  std::size_t tries = 0;
  EndpointId endpoint;
};

TEST_F(SessionTest, SaysWhoItIsAndWhomItMeans) {
  connect();
  const auto hello = decode<Hello>(transport.last().meta).value();
  EXPECT_EQ(hello.node, NodeId(3));
  EXPECT_EQ(hello.incarnation, Incarnation(33));
  EXPECT_EQ(hello.expected, NodeId(5));
  EXPECT_EQ(hello.expected_incarnation, kPeer);
  EXPECT_FALSE(session.open());
  EXPECT_EQ(session.endpoint(), EndpointId{});
  EXPECT_EQ(welcome(4).kind, Incoming::Kind::opened);
  EXPECT_EQ(session.endpoint(), endpoint);
  EXPECT_EQ(session.credits(), 4u);
  EXPECT_EQ(session.peer().parked_quota, 16u);
  EXPECT_EQ(session.last_heard(), now);
}

TEST_F(SessionTest, RequestsWaitForTheConnectionAndForCredits) {
  std::vector<RequestId> ids;
  for (std::uint64_t i = 0; i < 5; ++i) ids.push_back(request(i));
  EXPECT_TRUE(sent().empty());
  EXPECT_FALSE(session.was_sent(ids[0]));
  open(3);
  EXPECT_EQ(sent(), (std::vector{ids[0], ids[1], ids[2]}));
  EXPECT_TRUE(session.was_sent(ids[2]));
  EXPECT_FALSE(session.was_sent(ids[3]));
  EXPECT_EQ(session.credits(), 0u);
  transport.forget();
  // The peer parked one: its credit comes back before its answer, and the answer brings none.
  const auto credit = handle(FakeTransport::message(endpoint, header_of(FrameKind::credit, {}, 1)));
  EXPECT_EQ(credit.kind, Incoming::Kind::notice);
  EXPECT_EQ(sent(), std::vector{ids[3]});
  const auto parked = answer(ids[1], 0);
  EXPECT_EQ(parked.kind, Incoming::Kind::answer);
  EXPECT_EQ(parked.id, ids[1]);
  EXPECT_EQ(parked.context, 1u);
  EXPECT_EQ(sent().size(), 1u);
  answer(ids[0]);
  EXPECT_EQ(sent().back(), ids[4]);
  EXPECT_EQ(session.unanswered(), 3u);
}

TEST_F(SessionTest, RepeatsInOrderWithTheSameBytes) {
  open(8);
  std::vector<RequestId> ids;
  std::array<std::byte, 6> rows{std::byte{1}, std::byte{2}, std::byte{3}};
  const std::array<ConstMemoryView, 2> views{ConstMemoryView(rows.data(), 4),
                                             ConstMemoryView(rows.data() + 4, 2)};
  for (std::uint64_t i = 0; i < 5; ++i)
    ids.push_back(session
                      .request(header_of(FrameKind::push), std::as_bytes(std::span("abcd", i)),
                               std::span(views).first(i % 3), i)
                      .value());
  std::vector<FakeTransport::Sent> first;
  for (std::size_t i = 0; i < transport.sent_count(); ++i) first.push_back(transport.sent(i));
  first.erase(first.begin());  // hello
  answer(ids[1]);
  EXPECT_TRUE(session.withdraw(RequestId(12345)) == false);
  EXPECT_FALSE(session.withdraw(ids[3]));  // was on the wire
  const auto broken = handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::peer_lost));
  EXPECT_EQ(broken.kind, Incoming::Kind::broken);
  EXPECT_EQ(broken.status, Errc::peer_lost);
  EXPECT_FALSE(session.open());
  EXPECT_TRUE(session.was_sent(ids[0]));
  transport.forget();
  open(2);  // fewer credits than before
  EXPECT_EQ(sent(), (std::vector{ids[0], ids[2]}));
  answer(ids[0]);
  EXPECT_EQ(sent(), (std::vector{ids[0], ids[2], ids[4]}));
  for (std::size_t i = 1; i < transport.sent_count(); ++i) {
    const auto& again = transport.sent(i);
    const auto& once = first[again.header.request == ids[0]   ? 0
                             : again.header.request == ids[2] ? 2
                                                              : 4];
    EXPECT_EQ(std::memcmp(&again.header, &once.header, sizeof again.header), 0);
    EXPECT_EQ(again.meta, once.meta);
    EXPECT_EQ(again.payload, once.payload);
  }
}

TEST_F(SessionTest, AnAnswerCountsOnce) {
  open(4);
  const auto id = request(7);
  EXPECT_EQ(answer(id).kind, Incoming::Kind::answer);
  // A second one brings credits that nobody took: no correct peer does.
  EXPECT_EQ(answer(id).kind, Incoming::Kind::broken);
  EXPECT_EQ(transport.closed, std::vector{endpoint});
}

TEST_F(SessionTest, AnAnswerToAWithdrawnRequestBringsItsCreditOnly) {
  open(1);
  const auto id = request(7);
  EXPECT_FALSE(session.withdraw(id));
  const auto next = request(8);
  EXPECT_FALSE(session.was_sent(next));
  EXPECT_EQ(answer(id).kind, Incoming::Kind::nothing);
  EXPECT_TRUE(session.was_sent(next));
  EXPECT_EQ(answer(next).context, 8u);
}

TEST_F(SessionTest, WithdrawTellsWhatNobodyCanKnowOf) {
  const auto early = request(1);
  EXPECT_TRUE(session.withdraw(early));
  open(1);
  request(2);
  const auto waiting = request(3);
  EXPECT_TRUE(session.withdraw(waiting));
  EXPECT_EQ(session.unanswered(), 1u);
}

TEST_F(SessionTest, AFullTransportIsAskedAgain) {
  open(8);
  transport.forget();
  transport.room = 1;
  std::vector<RequestId> ids;
  for (std::uint64_t i = 0; i < 3; ++i) ids.push_back(request(i));
  EXPECT_EQ(sent(), std::vector{ids[0]});
  EXPECT_EQ(session.credits(), 7u);
  EXPECT_GT(session.next_timer(), now);
  ASSERT_LT(session.next_timer(), now + std::chrono::milliseconds(10));
  transport.room = 10;
  session.poll(session.next_timer());
  EXPECT_EQ(sent(), ids);
  EXPECT_EQ(session.next_timer(), kNever);
}

TEST_F(SessionTest, ATransportWithoutMemoryIsAskedSeldomAndExplained) {
  open(8);
  transport.forget();
  for (const auto why : {Errc::registration, Errc::no_memory}) {
    transport.send_fails = why;
    const auto id = request(1);
    EXPECT_TRUE(sent().empty());
    EXPECT_NE(session.explain().find("cannot send: as the test says"), std::string::npos)
        << session.explain();
    EXPECT_GT(session.next_timer(), now + std::chrono::milliseconds(50));
    transport.send_fails = Errc::ok;
    now = session.next_timer();
    session.poll(now);
    EXPECT_EQ(sent(), std::vector{id});
    EXPECT_EQ(session.explain().find("cannot send"), std::string::npos);
    transport.forget();
  }
}

TEST_F(SessionTest, IsBounded) {
  open(2);
  for (std::uint64_t i = 0; i < 8; ++i) request(i);
  const auto more = session.request(header_of(FrameKind::push), {}, {}, 9);
  EXPECT_EQ(more.code(), Errc::overloaded);
  const std::vector<std::byte> large((64u << 10) + 1);
  EXPECT_EQ(session.request(header_of(FrameKind::push), large, {}, 9).code(),
            Errc::invalid_argument);
  const std::array<ConstMemoryView, 5> views{};
  EXPECT_EQ(session.request(header_of(FrameKind::push), {}, views, 9).code(),
            Errc::invalid_argument);
}

TEST_F(SessionTest, BreakingIsNotReportedAndRepeats) {
  open(4);
  const auto id = request(1);
  const auto old = endpoint;
  session.break_connection();
  EXPECT_EQ(transport.closed, std::vector{old});
  Incoming incoming;
  EXPECT_FALSE(session.handle(FakeTransport::event(Event::Kind::closed, old), now, incoming));
  transport.forget();
  open(4);
  EXPECT_EQ(sent(), std::vector{id});
  // What the old connection still had to say is nobody's.
  EXPECT_FALSE(session.handle(FakeTransport::message(old, header_of(FrameKind::answer, id, 1)), now,
                              incoming));
  EXPECT_EQ(answer(id).kind, Incoming::Kind::answer);
}

TEST_F(SessionTest, ClosingEndsEverything) {
  open(4);
  const auto id = request(1);
  session.close();
  EXPECT_EQ(transport.closed, std::vector{endpoint});
  EXPECT_EQ(session.unanswered(), 0u);
  EXPECT_FALSE(session.was_sent(id));
  EXPECT_EQ(session.next_timer(), kNever);
  session.poll(now + std::chrono::hours(1));
  EXPECT_EQ(transport.connected.size(), tries);
  EXPECT_EQ(session.request(header_of(FrameKind::push), {}, {}, 9).code(), Errc::closed);
}

TEST_F(SessionTest, AStrangerAnswersAtThePeersAddress) {
  connect();
  const auto told = welcome(4, Errc::peer_lost, Incarnation(78));
  EXPECT_EQ(told.kind, Incoming::Kind::stranger);
  EXPECT_FALSE(session.open());
  connect();  // or lies about it
  EXPECT_EQ(welcome(4, Errc::ok, Incarnation(78)).kind, Incoming::Kind::stranger);
}

TEST_F(SessionTest, BeforeTheFirstTryHasEndedItIsConnecting) {
  EXPECT_EQ(session.explain().find("tries"), std::string::npos) << session.explain();
  session.poll(now);
  EXPECT_NE(session.explain().find("connecting"), std::string::npos) << session.explain();
}

/// A name that is not resolved, say.
TEST_F(SessionTest, ATryThatCannotBeginSaysWhyInTheTransportsWords) {
  transport.connect_fails = Errc::invalid_argument;
  session.poll(now);
  const auto text = session.explain();
  EXPECT_NE(text.find("not connected after 1 try: as the test says"), std::string::npos) << text;
  transport.connect_fails = Errc::ok;
  now = session.next_timer();
  connect();
  handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::refused));
  EXPECT_NE(session.explain().find("after 2 tries: refused"), std::string::npos);
}

TEST_F(SessionTest, SaysHowLongNothingWasHeard) {
  EXPECT_EQ(session.explain().find("last heard"), std::string::npos);
  open(4);
  now += std::chrono::milliseconds(3210);
  session.poll(now);
  EXPECT_NE(session.explain().find("last heard 3.2 s ago"), std::string::npos);
}

TEST_F(SessionTest, FailedTriesSayWhy) {
  session.poll(now);
  const auto refused =
      handle(FakeTransport::event(Event::Kind::closed, transport.connected.back(), Errc::refused));
  EXPECT_EQ(refused.kind, Incoming::Kind::refused);
  EXPECT_NE(session.explain().find("refused"), std::string::npos);
  tries = transport.connected.size();
  connect();
  const auto version = handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::version));
  EXPECT_EQ(version.kind, Incoming::Kind::nothing);
  EXPECT_EQ(version.status, Errc::version);
  EXPECT_NE(session.explain().find("version"), std::string::npos);
  connect();
  const auto token = handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::untrusted));
  EXPECT_EQ(token.kind, Incoming::Kind::nothing) << "another token is not a dead process";
  EXPECT_EQ(token.status, Errc::untrusted);
  EXPECT_NE(session.explain().find("token"), std::string::npos);
  connect();
  EXPECT_EQ(welcome(4, Errc::not_ready).status, Errc::not_ready);
  EXPECT_FALSE(session.open());
}

TEST_F(SessionTest, TriesMoreAndMoreRarelyUntilOneIsHeard) {
  Duration longest{};
  for (int i = 0; i < 20; ++i) {
    session.poll(now);
    handle(FakeTransport::event(Event::Kind::closed, transport.connected.back(), Errc::timed_out));
    longest = std::max(longest, session.next_timer() - now);
    EXPECT_LE(session.next_timer() - now, std::chrono::seconds(1));
    now = session.next_timer();
  }
  EXPECT_GE(longest, std::chrono::milliseconds(500));
  tries = transport.connected.size();
  open(4);
  const auto id = request(1);
  answer(id);
  handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::peer_lost));
  EXPECT_LE(session.next_timer() - now, std::chrono::milliseconds(10));
}

TEST_F(SessionTest, AConnectionWithoutAWelcomeIsGivenUp) {
  connect();
  const auto first = endpoint;
  now = session.next_timer();
  EXPECT_LE(now, at_ms(1000) + std::chrono::seconds(5));
  session.poll(now);
  EXPECT_EQ(transport.closed, std::vector{first});
  EXPECT_NE(session.explain().find("no answer in time"), std::string::npos);
}

TEST_F(SessionTest, NonsenseLosesThePeerItsSession) {
  open(4);
  const auto sent_id = request(1);
  const auto try_it = [&](FrameHeader header) {
    const auto kind = handle(FakeTransport::message(endpoint, header)).kind;
    EXPECT_EQ(kind, Incoming::Kind::broken);
    open(4);
  };
  try_it(header_of(FrameKind::welcome));
  try_it(header_of(FrameKind::hello));
  try_it(header_of(FrameKind::answer, sent_id, 2));  // more credits than it has of ours
  try_it(header_of(FrameKind::credit, {}, 0xffffffffu));
  EXPECT_EQ(session.unanswered(), 1u);
  // An answer to what this connection has not carried yet.
  handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::peer_lost));
  connect();
  transport.room = 0;
  EXPECT_EQ(welcome(4).kind, Incoming::Kind::opened);
  EXPECT_EQ(answer(sent_id, 0).kind, Incoming::Kind::broken);
}

TEST_F(SessionTest, ARepeatSaysTheNewestEpochItWasTold) {
  open(4);
  request(1);
  EXPECT_EQ(transport.last().header.epoch, (Epoch{1, 5}.packed()));
  session.set_epoch({1, 7});
  session.set_epoch({1, 3});  // never back
  request(2);
  EXPECT_EQ(transport.last().header.epoch, (Epoch{1, 7}.packed()));
  handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::peer_lost));
  transport.forget();
  open(4);
  ASSERT_EQ(transport.sent_count(), 3u);
  EXPECT_EQ(transport.sent(1).header.epoch, (Epoch{1, 7}.packed()));
}

TEST_F(SessionTest, NoticesAreBestEffort) {
  EXPECT_EQ(session.send_notice(header_of(FrameKind::tick), {}).code(), Errc::closed);
  open(1);
  EXPECT_TRUE(session.send_notice(header_of(FrameKind::tick), {}).ok());
  EXPECT_EQ(session.credits(), 1u);
}

TEST_F(SessionTest, IdsRiseAndAreNeverUsedAgain) {
  open(4);
  RequestId last{};
  for (std::uint64_t i = 0; i < 100; ++i) {
    const auto id = request(i);
    EXPECT_GT(id, last);
    last = id;
    answer(id);
  }
}

TEST_F(SessionTest, AllocatesNothingInSteadyState) {
  open(4);
  const std::string_view meta(
      "long enough that no small-string trick could hold it in place of the heap ............");
  std::array<std::byte, 64> rows{};
  const ConstMemoryView view(rows.data(), rows.size());
  const auto round = [&] {
    RequestId ids[6];
    for (auto& id : ids)
      id = session
               .request(header_of(FrameKind::push), std::as_bytes(std::span(meta)),
                        std::span(&view, 1), 1)
               .value();
    for (const auto id : ids) answer(id);
    (void)session.send_notice(header_of(FrameKind::tick), {});
    session.poll(now);
    transport.forget();
  };
  for (int i = 0; i < 3; ++i) round();  // until the transport's log has its size, too
  const auto before = test::allocations();
  for (int i = 0; i < 100; ++i) round();
  EXPECT_EQ(test::allocations() - before, 0u);
}

}  // namespace
}  // namespace shoal
