#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/allocations.h"
#include "tests/transport/contract.h"
#include "tests/transport/fake_transport.h"
#include "transport/session.h"

// The answering side, frame by frame.

namespace shoal {
namespace {

using test::at_ms;
using test::FakeTransport;
using test::header_of;
using test::meta_of;
using Served = SessionServer::Served;

constexpr Incarnation kOurs{500};

class SessionServerTest : public testing::Test {
 protected:
  static SessionServer::Options options() {
    SessionServer::Options o;
    o.node = NodeId(5);
    o.incarnation = kOurs;
    o.credits = 3;
    o.parked_quota = 2;
    o.peers_max = 4;
    return o;
  }
  Served handle(const Event& event) {
    Served served;
    EXPECT_TRUE(server.handle(event, now, served));
    return served;
  }
  EndpointId accept() {
    const auto endpoint = transport.fresh();
    EXPECT_EQ(handle(FakeTransport::event(Event::Kind::accepted, endpoint)).kind,
              SessionServer::Kind::nothing);
    return endpoint;
  }
  Served hello(EndpointId from, Hello m) {
    const auto meta = meta_of(m);
    return handle(FakeTransport::message(from, header_of(FrameKind::hello), meta));
  }
  EndpointId greet(std::uint32_t node = 9) {
    const auto endpoint = accept();
    EXPECT_EQ(hello(endpoint, {NodeId(node), Incarnation(node), Role::worker, {}, kOurs}).kind,
              SessionServer::Kind::greeted);
    transport.forget();
    return endpoint;
  }
  Served request(EndpointId from, std::uint64_t id) {
    return handle(FakeTransport::message(from, header_of(FrameKind::pull, RequestId(id))));
  }
  Status answer(EndpointId to, std::uint64_t id, bool was_parked = false,
                Transport::SendOptions send_options = {}) {
    return server.answer(to, RequestId(id), {}, {}, {}, send_options, was_parked);
  }
  Errc welcome_status() {
    EXPECT_EQ(transport.last().header.kind, FrameKind::welcome);
    return static_cast<Errc>(transport.last().header.status);
  }
  bool was_closed(EndpointId endpoint) {
    return std::find(transport.closed.begin(), transport.closed.end(), endpoint) !=
           transport.closed.end();
  }

  FakeTransport transport;
  SessionServer server{transport, options()};
  TimePoint now = at_ms(1000);
};

TEST_F(SessionServerTest, WelcomesWhoMeansIt) {
  const auto endpoint = accept();
  EXPECT_EQ(server.find(endpoint), nullptr);
  const auto served =
      hello(endpoint, {NodeId(9), Incarnation(90), Role::observer, NodeId(5), kOurs});
  ASSERT_EQ(served.kind, SessionServer::Kind::greeted);
  EXPECT_EQ(served.peer->node, NodeId(9));
  EXPECT_EQ(served.peer->incarnation, Incarnation(90));
  EXPECT_EQ(served.peer->role, Role::observer);
  EXPECT_EQ(welcome_status(), Errc::ok);
  const auto welcome = decode<Welcome>(transport.last().meta).value();
  EXPECT_EQ(welcome.node, NodeId(5));
  EXPECT_EQ(welcome.incarnation, kOurs);
  EXPECT_EQ(welcome.credits, 3u);
  EXPECT_EQ(welcome.parked_quota, 2u);
  EXPECT_EQ(server.find(endpoint), served.peer);
  EXPECT_EQ(server.find(NodeId(9)), served.peer);
}

TEST_F(SessionServerTest, TellsWhoMeansAnother) {
  const auto expect = [&](Hello m, Errc status) {
    const auto endpoint = accept();
    EXPECT_EQ(hello(endpoint, m).kind,
              status == Errc::ok ? SessionServer::Kind::greeted : SessionServer::Kind::nothing);
    EXPECT_EQ(welcome_status(), status);
    server.close(endpoint);
  };
  const Incarnation other{501};
  expect({{}, {}, Role::worker, NodeId(5), other}, Errc::peer_lost);
  expect({{}, {}, Role::worker, NodeId(6), kOurs}, Errc::peer_lost);
  expect({{}, {}, Role::worker, NodeId(6), {}}, Errc::peer_lost);
  expect({{}, {}, Role::worker, NodeId(5), {}}, Errc::ok);
  expect({{}, {}, Role::worker, {}, {}}, Errc::ok);
  // Before our own join the others may know our id already, but the incarnation tells.
  server.set_identity({}, kOurs);
  expect({{}, {}, Role::worker, NodeId(5), kOurs}, Errc::ok);
  expect({{}, {}, Role::worker, NodeId(5), other}, Errc::peer_lost);
  expect({{}, {}, Role::worker, NodeId(5), {}}, Errc::not_ready);
}

TEST_F(SessionServerTest, ThoseWhoSayNothingOrNonsenseAreDropped) {
  const auto silent = accept();
  const auto unwelcome = accept();
  hello(unwelcome, {{}, {}, Role::worker, {}, Incarnation(1)});
  EXPECT_FALSE(was_closed(unwelcome));  // it has to read why first
  const auto wrong = accept();
  EXPECT_EQ(request(wrong, 1).kind, SessionServer::Kind::nothing);
  EXPECT_TRUE(was_closed(wrong));
  now = server.next_timer();
  EXPECT_EQ(now, at_ms(6000));
  server.poll(now);
  EXPECT_TRUE(was_closed(silent));
  EXPECT_TRUE(was_closed(unwelcome));
  EXPECT_EQ(server.next_timer(), kNever);
}

TEST_F(SessionServerTest, TakesSoManyPeers) {
  std::vector<EndpointId> peers;
  for (std::uint32_t i = 0; i < 4; ++i) peers.push_back(greet(10 + i));
  const Hello more{NodeId(20), Incarnation(20), Role::worker, {}, kOurs};
  testing::internal::CaptureStderr();
  const auto refused = accept();
  EXPECT_EQ(hello(refused, more).kind, SessionServer::Kind::nothing);
  EXPECT_EQ(static_cast<Errc>(transport.last().header.status), Errc::overloaded);
  EXPECT_FALSE(was_closed(refused)) << "it has to read why";
  EXPECT_EQ(server.find(NodeId(20)), nullptr);
  // Those who come in crowds hear nothing any more, and take no memory.
  std::vector<EndpointId> crowd;
  for (int i = 0; i < 100; ++i) crowd.push_back(accept());
  EXPECT_TRUE(was_closed(crowd.back()));
  const auto log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  EXPECT_NE(log.find("1 connections were turned away: 4 are open"), std::string::npos) << log;

  now += std::chrono::seconds(1);
  server.poll(now);
  testing::internal::CaptureStderr();
  accept();
  const auto later = testing::internal::GetCapturedStderr();
  EXPECT_NE(later.find(" 38 connections were turned away"), std::string::npos) << later;
  EXPECT_EQ(handle(FakeTransport::event(Event::Kind::closed, peers[0])).kind,
            SessionServer::Kind::gone);
  EXPECT_EQ(hello(refused, more).kind, SessionServer::Kind::greeted) << "one has gone";
}

TEST_F(SessionServerTest, CountsCreditsAndParkedRequests) {
  const auto endpoint = greet();
  auto* peer = server.find(endpoint);
  for (std::uint64_t id = 1; id <= 3; ++id)
    EXPECT_EQ(request(endpoint, id).kind, SessionServer::Kind::request);
  EXPECT_EQ(peer->unanswered, 3u);
  ASSERT_TRUE(answer(endpoint, 2).ok());
  EXPECT_EQ(transport.last().header.kind, FrameKind::answer);
  EXPECT_EQ(transport.last().header.request, RequestId(2));
  EXPECT_EQ(transport.last().header.credits, 1u);
  EXPECT_EQ(peer->unanswered, 2u);

  transport.forget();
  EXPECT_TRUE(server.park(endpoint, WorkerClock(7)));
  EXPECT_TRUE(server.park(endpoint, WorkerClock(7)));
  EXPECT_EQ(peer->unanswered, 0u);
  EXPECT_EQ(peer->parked, 2u);
  EXPECT_LE(server.next_timer(), now);
  server.poll(now);
  ASSERT_EQ(transport.sent_count(), 1u);  // both credits in one frame
  EXPECT_EQ(transport.last().header.kind, FrameKind::credit);
  EXPECT_EQ(transport.last().header.credits, 2u);
  EXPECT_EQ(transport.last().header.clock, WorkerClock(7));
  EXPECT_EQ(server.next_timer(), kNever);

  request(endpoint, 4);
  EXPECT_FALSE(server.park(endpoint, WorkerClock(7)));  // over quota
  EXPECT_EQ(peer->unanswered, 1u);
  ASSERT_TRUE(answer(endpoint, 1, true).ok());
  EXPECT_EQ(transport.last().header.credits, 0u);
  EXPECT_EQ(peer->parked, 1u);
  EXPECT_TRUE(server.park(endpoint, WorkerClock(8)));
  ASSERT_TRUE(answer(endpoint, 3, true).ok());
  EXPECT_EQ(transport.last().header.credits, 1u);  // an owed credit rides with it
  transport.forget();
  server.poll(now);
  EXPECT_EQ(transport.sent_count(), 0u);
}

TEST_F(SessionServerTest, ARequestBeyondItsCreditsLosesThePeerItsSession) {
  const auto endpoint = greet();
  for (std::uint64_t id = 1; id <= 3; ++id) request(endpoint, id);
  const auto served = request(endpoint, 4);
  EXPECT_EQ(served.kind, SessionServer::Kind::gone);
  EXPECT_EQ(served.status, Errc::protocol);
  EXPECT_EQ(served.peer->endpoint, endpoint);
  EXPECT_TRUE(was_closed(endpoint));
  EXPECT_EQ(server.find(endpoint), nullptr);
  EXPECT_EQ(answer(endpoint, 1).code(), Errc::closed);
  EXPECT_FALSE(server.park(endpoint, {}));
}

TEST_F(SessionServerTest, NonsenseLosesThePeerItsSession) {
  for (const auto kind : {FrameKind::hello, FrameKind::welcome, FrameKind::answer,
                          FrameKind::credit, FrameKind::view, FrameKind::global_clock}) {
    const auto endpoint = greet();
    EXPECT_EQ(handle(FakeTransport::message(endpoint, header_of(kind))).kind,
              SessionServer::Kind::gone);
    EXPECT_TRUE(was_closed(endpoint));
  }
}

TEST_F(SessionServerTest, CancelsAndNoticesTakeNoCredit) {
  const auto endpoint = greet();
  const auto cancel =
      handle(FakeTransport::message(endpoint, header_of(FrameKind::cancel, RequestId(12))));
  EXPECT_EQ(cancel.kind, SessionServer::Kind::notice);
  EXPECT_EQ(cancel.frame.header.request, RequestId(12));
  EXPECT_EQ(handle(FakeTransport::message(endpoint, header_of(FrameKind::tick))).kind,
            SessionServer::Kind::notice);
  EXPECT_EQ(server.find(endpoint)->unanswered, 0u);
}

TEST_F(SessionServerTest, AnswersAreKeptWhileTheTransportIsFull) {
  const auto endpoint = greet();
  auto* peer = server.find(endpoint);
  for (std::uint64_t id = 1; id <= 3; ++id) request(endpoint, id);
  transport.room = 0;
  std::vector<std::byte> meta(3, std::byte{7});
  std::vector<std::byte> rows(5, std::byte{9});
  const ConstMemoryView view(rows.data(), rows.size());
  Transport::SendOptions copy;
  copy.copy_payload = true;
  ASSERT_TRUE(
      server.answer(endpoint, RequestId(1), {}, meta, std::span(&view, 1), copy, false).ok());
  std::fill(meta.begin(), meta.end(), std::byte{});  // both were copied
  std::fill(rows.begin(), rows.end(), std::byte{});
  ASSERT_TRUE(answer(endpoint, 2).ok());
  ASSERT_TRUE(answer(endpoint, 3, false, {Lane::bulk}).ok());  // the other lane has room
  EXPECT_EQ(transport.last().header.request, RequestId(3));
  EXPECT_EQ(peer->unanswered, 2u);  // those not sent still count: their number stays bounded
  transport.room = 1;
  now = server.next_timer();
  EXPECT_GT(now, at_ms(1000));
  server.poll(now);
  EXPECT_EQ(transport.last().header.request, RequestId(1));
  EXPECT_EQ(transport.last().meta, std::vector<std::byte>(3, std::byte{7}));
  EXPECT_EQ(transport.last().payload, std::vector<std::byte>(5, std::byte{9}));
  transport.room = 5;
  now = server.next_timer();
  server.poll(now);
  EXPECT_EQ(transport.last().header.request, RequestId(2));
  EXPECT_EQ(transport.last().header.credits, 1u);
  EXPECT_EQ(peer->unanswered, 0u);
  EXPECT_EQ(server.next_timer(), kNever);
  EXPECT_EQ(server.take_unsent(), std::nullopt);
}

TEST_F(SessionServerTest, ContextsOfAnswersThatWereNeverSentComeBack) {
  for (const bool by_owner : {true, false}) {
    const auto endpoint = greet();
    transport.room = 0;
    for (std::uint64_t id = 1; id <= 3; ++id) {
      request(endpoint, id);
      ASSERT_TRUE(answer(endpoint, id, false, {Lane::message, false, id == 3 ? 0 : 100 + id}).ok());
    }
    if (by_owner)
      server.close(endpoint);
    else
      EXPECT_EQ(handle(FakeTransport::event(Event::Kind::closed, endpoint, Errc::peer_lost)).kind,
                SessionServer::Kind::gone);
    std::vector<std::uint64_t> contexts;
    while (const auto context = server.take_unsent()) contexts.push_back(*context);
    std::sort(contexts.begin(), contexts.end());
    EXPECT_EQ(contexts, (std::vector<std::uint64_t>{101, 102}));
    transport.room = 100;
    transport.forget();
    server.poll(now + std::chrono::seconds(1));
    EXPECT_EQ(transport.sent_count(), 0u);
  }
}

/// Whoever waits for it hears why, and its credit comes back.
TEST_F(SessionServerTest, AnAnswerWhosePayloadFindsNoMemoryBecomesARefusal) {
  const std::vector<std::byte> meta(32, std::byte{7});
  const std::vector<std::byte> rows(5);
  const ConstMemoryView view(rows.data(), rows.size());
  const auto send = [&](EndpointId to, std::uint64_t id, std::uint64_t context) {
    FrameHeader header;
    header.flags = frame_flag::kPayloadWritten;
    return server.answer(to, RequestId(id), header, meta, std::span(&view, 1),
                         {Lane::message, context == 0, context}, false);
  };
  for (const auto why : {Errc::registration, Errc::no_memory}) {
    const auto endpoint = greet();
    for (std::uint64_t id = 1; id <= 3; ++id) request(endpoint, id);
    transport.payload_fails = why;
    EXPECT_EQ(send(endpoint, 3, 100).code(), why) << "its payload is its owner's";
    EXPECT_EQ(transport.sent_count(), 0u);
    transport.room = 0;
    ASSERT_TRUE(answer(endpoint, 1).ok());
    transport.room = 100;
    ASSERT_TRUE(send(endpoint, 2, 0).ok());
    EXPECT_EQ(transport.sent_count(), 0u) << "it comes behind the one that is kept";
    now = server.next_timer();
    server.poll(now);
    ASSERT_EQ(transport.sent_count(), 2u);
    ASSERT_TRUE(send(endpoint, 3, 0).ok());
    ASSERT_EQ(transport.sent_count(), 3u) << "at once";
    for (std::size_t i = 1; i < 3; ++i) {
      const auto& sent = transport.sent(i);
      EXPECT_EQ(sent.header.request, RequestId(i + 1));
      EXPECT_EQ(static_cast<Errc>(sent.header.status), why);
      EXPECT_EQ(sent.header.flags, 0u);
      EXPECT_EQ(sent.header.credits, 1u);
      EXPECT_TRUE(sent.payload.empty());
      ASSERT_GT(sent.meta.size(), meta.size());
      EXPECT_TRUE(std::equal(meta.begin(), meta.end(), sent.meta.begin()));
      const std::string_view words(reinterpret_cast<const char*>(sent.meta.data()) + meta.size(),
                                   sent.meta.size() - meta.size());
      EXPECT_NE(words.find("as the test says"), words.npos) << words;
    }
    EXPECT_EQ(server.find(endpoint)->unanswered, 0u);
    transport.payload_fails = Errc::ok;
    server.close(endpoint);
    server.poll(now);
  }
}

/// What has no payload to give up waits for memory.
TEST_F(SessionServerTest, AnAnswerWithoutPayloadWaitsForMemory) {
  const auto endpoint = greet();
  request(endpoint, 1);
  transport.send_fails = Errc::registration;
  ASSERT_TRUE(answer(endpoint, 1).ok());
  now = server.next_timer();
  server.poll(now);
  EXPECT_EQ(server.find(endpoint)->unanswered, 1u);
  // To ask for memory takes longer than to ask for room; nobody else waits as long.
  EXPECT_EQ(server.next_timer(), now + kNoMemoryRetry);
  request(endpoint, 2);
  ASSERT_TRUE(answer(endpoint, 2).ok());
  EXPECT_EQ(server.next_timer(), now + kNoMemoryRetry) << "it comes behind the one that waits";
  transport.send_fails = Errc::ok;
  const auto other = greet();
  request(other, 1);
  transport.room = 0;
  ASSERT_TRUE(answer(other, 1).ok());
  EXPECT_EQ(server.next_timer(), now + kFullRetry);
  transport.room = 100;
  transport.forget();
  now = server.next_timer();
  server.poll(now);
  ASSERT_EQ(transport.sent_count(), 1u);
  EXPECT_EQ(transport.last().endpoint, other);
  now = server.next_timer();
  server.poll(now);
  ASSERT_EQ(transport.sent_count(), 3u);
  EXPECT_EQ(static_cast<Errc>(transport.last().header.status), Errc::ok);
  EXPECT_EQ(server.find(endpoint)->unanswered, 0u);
  EXPECT_GT(server.next_timer(), now + kNoMemoryRetry) << "nothing waits";
}

/// Memory is the bulk lane's own affair: what the other keeps goes as soon as there is room.
TEST_F(SessionServerTest, TheMessageLaneDoesNotWaitForTheBulkLanesMemory) {
  const auto endpoint = greet();
  for (std::uint64_t id = 1; id <= 2; ++id) request(endpoint, id);
  transport.send_fails = Errc::registration;
  ASSERT_TRUE(server.answer(endpoint, RequestId(1), {}, {}, {}, {Lane::bulk}, false).ok());
  now = server.next_timer();
  server.poll(now);
  const auto memory_at = now + kNoMemoryRetry;
  EXPECT_EQ(server.next_timer(), memory_at);
  transport.forget();
  transport.send_fails = Errc::ok;
  transport.room = 0;
  ASSERT_TRUE(answer(endpoint, 2).ok());
  EXPECT_EQ(server.next_timer(), now + kFullRetry);
  now = server.next_timer();
  server.poll(now);  // still full
  EXPECT_EQ(server.next_timer(), now + kFullRetry);
  transport.room = 100;
  now = server.next_timer();
  server.poll(now);
  ASSERT_EQ(transport.sent_count(), 1u) << "and memory is not asked for more often";
  EXPECT_EQ(transport.last().header.request, RequestId(2));
  EXPECT_EQ(server.next_timer(), memory_at);
  now = memory_at;
  server.poll(now);
  ASSERT_EQ(transport.sent_count(), 2u);
  EXPECT_EQ(transport.last().header.request, RequestId(1));
  EXPECT_EQ(server.find(endpoint)->unanswered, 0u);
}

/// Or it would hold back all that comes behind it, for as long as there is none.
TEST_F(SessionServerTest, AKeptPayloadThatFindsNoMemoryGoesBackToItsOwner) {
  const auto endpoint = greet();
  const std::vector<std::byte> rows(5);
  const ConstMemoryView view(rows.data(), rows.size());
  for (std::uint64_t id = 1; id <= 2; ++id) request(endpoint, id);
  transport.room = 0;
  ASSERT_TRUE(server
                  .answer(endpoint, RequestId(1), {}, {}, std::span(&view, 1),
                          {Lane::message, false, 100}, false)
                  .ok());
  ASSERT_TRUE(answer(endpoint, 2).ok());
  transport.room = 100;
  transport.payload_fails = Errc::no_memory;
  EXPECT_EQ(server.take_unsent(), std::nullopt);
  now = server.next_timer();
  server.poll(now);
  EXPECT_EQ(server.take_unsent(), 100u);
  EXPECT_EQ(server.take_unsent(), std::nullopt);
  ASSERT_EQ(transport.sent_count(), 2u);
  EXPECT_EQ(static_cast<Errc>(transport.sent(0).header.status), Errc::no_memory);
  EXPECT_TRUE(transport.sent(0).payload.empty());
  EXPECT_EQ(transport.last().header.request, RequestId(2));
  EXPECT_EQ(server.find(endpoint)->unanswered, 0u);
}

TEST_F(SessionServerTest, AnAnswerThatFitsNoFrameIsTheOwnersToReplace) {
  const auto endpoint = greet();
  request(endpoint, 1);
  const std::vector<std::byte> large((1u << 20) + 1);
  EXPECT_EQ(server.answer(endpoint, RequestId(1), {}, large, {}, {}, false).code(),
            Errc::out_of_range);
  EXPECT_EQ(server.find(endpoint)->unanswered, 1u);
  EXPECT_TRUE(answer(endpoint, 1).ok());
}

TEST_F(SessionServerTest, APeersStateLivesUntilTheNextPoll) {
  const auto first = greet(9);
  const auto second = greet(9);  // it came back before we saw the old connection end
  auto* old = server.find(first);
  EXPECT_EQ(server.find(NodeId(9)), server.find(second));
  const auto gone = handle(FakeTransport::event(Event::Kind::closed, first, Errc::peer_lost));
  EXPECT_EQ(gone.kind, SessionServer::Kind::gone);
  EXPECT_EQ(gone.peer, old);
  EXPECT_EQ(old->node, NodeId(9));
  EXPECT_EQ(server.find(NodeId(9)), server.find(second));
  server.poll(now);
  const auto third = greet(9);
  server.close(third);
  EXPECT_EQ(server.find(NodeId(9)), server.find(second));
}

TEST_F(SessionServerTest, ANodeIsNamedByItsJoin) {
  const auto endpoint = greet(0);
  EXPECT_EQ(server.find(NodeId(0)), nullptr);
  server.set_node(endpoint, NodeId(12));
  ASSERT_NE(server.find(NodeId(12)), nullptr);
  EXPECT_EQ(server.find(NodeId(12))->endpoint, endpoint);
}

TEST_F(SessionServerTest, ForEachMayClose) {
  std::vector<EndpointId> all{greet(1), greet(2), greet(3)};
  std::vector<EndpointId> seen;
  server.for_each([&](SessionServer::Peer& peer) {
    seen.push_back(peer.endpoint);
    if (seen.size() == 1) server.close(all[1]);
    server.close(peer.endpoint);
  });
  EXPECT_EQ(seen, (std::vector{all[0], all[2]}));
  server.poll(now);
  server.for_each([&](SessionServer::Peer&) { ADD_FAILURE() << "all were closed"; });
}

TEST_F(SessionServerTest, BulkCompletionsAreTheOwners) {
  const auto endpoint = greet();
  auto event = FakeTransport::event(Event::Kind::read_done, endpoint, Errc::revoked);
  event.context = 44;
  const auto served = handle(event);
  EXPECT_EQ(served.kind, SessionServer::Kind::bulk);
  EXPECT_EQ(served.status, Errc::revoked);
}

TEST_F(SessionServerTest, AllocatesNothingInSteadyState) {
  const auto endpoint = greet();
  const std::vector<std::byte> meta(200);
  std::uint64_t id = 0;
  const auto round = [&] {
    for (int i = 0; i < 3; ++i) request(endpoint, ++id);
    server.park(endpoint, WorkerClock(1));
    server.poll(now);
    (void)server.answer(endpoint, RequestId(id), {}, meta, {}, {}, true);
    (void)server.answer(endpoint, RequestId(id - 1), {}, meta, {}, {}, false);
    (void)server.answer(endpoint, RequestId(id - 2), {}, meta, {}, {}, false);
    transport.forget();
  };
  for (int i = 0; i < 3; ++i) round();
  const auto before = test::allocations();
  for (int i = 0; i < 100; ++i) round();
  EXPECT_EQ(test::allocations() - before, 0u);
}

}  // namespace
}  // namespace shoal
