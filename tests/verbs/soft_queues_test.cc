#include <poll.h>

#include <cerrno>

#include "tests/support/allocations.h"
#include "tests/verbs/soft_fixture.h"

// Completion queues, their channels and asynchronous events, and what a test can do to them.

namespace shoal::verbs::test {
namespace {

class SoftQueues : public SoftAdapter {
 protected:
  static bool readable(int fd) {
    pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&one, 1, 0) == 1;
  }
  /// Whether an event of `process`' queue was in its channel; acknowledges it.
  static bool took_event(Process& process) {
    ibv_cq* cq = nullptr;
    void* user = nullptr;
    if (process.api.get_cq_event(process.channel, &cq, &user) != 0) {
      EXPECT_EQ(errno, EAGAIN);
      return false;
    }
    EXPECT_EQ(cq, process.cq);
    EXPECT_EQ(user, &process);
    process.api.ack_cq_events(cq, 1);
    return true;
  }
  void complete_one(std::uint64_t id = 0) {
    ASSERT_EQ(a->post(at_a, {.id = id}), 0);
    ASSERT_TRUE(fabric->run());
  }
};

TEST_F(SoftQueues, AnArmedQueueRaisesOneEvent) {
  start();
  complete_one();
  EXPECT_EQ(a->api.req_notify_cq(a->cq, 0), 0);
  EXPECT_TRUE(fabric->run());
  EXPECT_FALSE(readable(a->channel->fd)) << "what came before arming raises nothing";
  EXPECT_FALSE(took_event(*a));
  complete_one();
  complete_one();
  EXPECT_TRUE(readable(a->channel->fd));
  EXPECT_TRUE(took_event(*a));
  EXPECT_FALSE(readable(a->channel->fd));
  EXPECT_FALSE(took_event(*a));
  EXPECT_EQ(a->poll().size(), 3u);
}

TEST_F(SoftQueues, SolicitedEventsAreOfMarkedMessagesAndErrors) {
  start();
  auto& memory = b->make_buffer(64);
  auto& from = a->make_buffer(8);
  for (std::uint64_t id = 0; id < 2; ++id) ASSERT_EQ(b->receive(id, {memory.all()}), 0);
  EXPECT_EQ(b->api.req_notify_cq(b->cq, 1), 0);
  EXPECT_EQ(a->api.req_notify_cq(a->cq, 1), 0);
  ASSERT_EQ(a->post(at_a, send_of(from, 8)), 0);
  EXPECT_TRUE(fabric->run());
  EXPECT_FALSE(took_event(*b));
  auto marked = send_of(from, 8);
  marked.flags |= IBV_SEND_SOLICITED;
  ASSERT_EQ(a->post(at_a, marked), 0);
  EXPECT_TRUE(fabric->run());
  EXPECT_TRUE(took_event(*b));
  EXPECT_FALSE(took_event(*a));
  ASSERT_EQ(a->to_state(at_a, IBV_QPS_ERR), 0);
  complete_one();
  EXPECT_TRUE(took_event(*a));
}

TEST_F(SoftQueues, WaitingForEverIsMisuse) {
  start();
  auto* channel = a->api.create_comp_channel(a->context);
  auto* cq = a->api.create_cq(a->context, 4, nullptr, channel, 0);
  EXPECT_EQ(a->api.destroy_comp_channel(channel), EBUSY);
  ibv_cq* found = nullptr;
  void* user = nullptr;
  EXPECT_EQ(a->api.get_cq_event(channel, &found, &user), -1);
  EXPECT_EQ(fabric->misuse().size(), 1u) << "the channel's descriptor blocks";
  ibv_qp_init_attr init{};
  init.send_cq = init.recv_cq = cq;
  init.cap.max_send_wr = 4;
  init.qp_type = IBV_QPT_RC;
  auto* pair = a->api.create_qp(a->pd, &init);
  EXPECT_EQ(a->to_init(pair, {}), 0);
  EXPECT_EQ(a->to_ready(pair, *b, at_b, {}), 0);
  EXPECT_EQ(a->api.req_notify_cq(cq, 0), 0);
  EXPECT_EQ(a->to_state(pair, IBV_QPS_ERR), 0);
  EXPECT_EQ(a->post(pair, {}), 0);
  EXPECT_TRUE(fabric->run());
  EXPECT_EQ(a->api.get_cq_event(channel, &found, &user), 0);
  EXPECT_EQ(a->api.destroy_qp(pair), 0);
  EXPECT_EQ(a->api.destroy_cq(cq), EBUSY) << "an event was not acknowledged";
  EXPECT_EQ(fabric->misuse().size(), 2u);
  a->api.ack_cq_events(cq, 1);
  EXPECT_EQ(a->api.destroy_cq(cq), 0);
  EXPECT_EQ(a->api.destroy_comp_channel(channel), 0);
  a.reset();
  b.reset();
  fabric.reset();  // With what it holds against this test.
}

TEST_F(SoftQueues, OverflowPutsTheQueueAndItsPairsIntoError) {
  start({}, {}, {.completions = 3});
  auto* second = a->make_pair();
  connect(*a, second, *b, b->make_pair());
  for (std::uint64_t id = 0; id < 5; ++id) ASSERT_EQ(a->post(at_a, {.id = id}), 0);
  EXPECT_TRUE(fabric->run());
  EXPECT_EQ(a->state_of(at_a), IBV_QPS_ERR);
  EXPECT_EQ(a->state_of(second), IBV_QPS_ERR);
  EXPECT_EQ(a->event(), IBV_EVENT_CQ_ERR);
  EXPECT_EQ(a->event(), IBV_EVENT_QP_FATAL);
  EXPECT_EQ(a->event(), IBV_EVENT_QP_FATAL);
  EXPECT_EQ(a->event(), std::nullopt);
  EXPECT_EQ(a->poll().size(), 3u) << "what was in it stays";
  ASSERT_EQ(a->post(at_a, {}), 0);
  EXPECT_TRUE(finish(*a).empty()) << "nothing more comes";
  EXPECT_EQ(b->state_of(at_b), IBV_QPS_RTS);
}

TEST_F(SoftQueues, UnacknowledgedEventsHoldTheirPair) {
  start();
  auto& memory = b->make_buffer(8);
  auto bad = read_from(memory, a->make_buffer(8), 8);
  bad.rkey ^= 0x800000;
  ASSERT_EQ(a->post(at_a, bad), 0);
  EXPECT_EQ(finish(*a).size(), 1u);
  ibv_async_event event{};
  ASSERT_EQ(b->api.get_async_event(b->context, &event), 0);
  EXPECT_EQ(event.element.qp, at_b);
  EXPECT_EQ(b->api.destroy_qp(at_b), EBUSY);
  EXPECT_EQ(fabric->misuse().size(), 1u);
  b->api.ack_async_event(&event);
  b->destroy(at_b);
  a.reset();
  b.reset();
  fabric.reset();
}

TEST_F(SoftQueues, CompletionsCanBeDelayed) {
  start();
  auto& from = a->make_buffer(8);
  auto& to = b->make_buffer(8);
  for (std::uint64_t id = 0; id < 2; ++id) ASSERT_EQ(b->receive(id, {to.all()}), 0);
  const auto slow = [](const ibv_wc& wc) {
    return Fate{.delay = std::chrono::milliseconds(wc.wr_id == 0 ? 10 : 0)};
  };
  device_a->fate = slow;
  device_b->fate = slow;
  ASSERT_EQ(a->post(at_a, send_of(from, 8, 0)), 0);
  ASSERT_EQ(a->post(at_a, send_of(from, 8, 1)), 0);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(fabric->step());
  EXPECT_TRUE(a->poll().empty());
  EXPECT_TRUE(b->poll().empty());
  const auto sent = finish(*a);
  EXPECT_GE(fabric->clock().now().time_since_epoch(), std::chrono::milliseconds(10));
  const auto got = b->poll();
  ASSERT_EQ(sent.size(), 2u);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(sent[0].wr_id, 0u) << "a delayed one holds back those behind it";
  EXPECT_EQ(got[0].wr_id, 0u);
}

TEST_F(SoftQueues, CompletionsCanFail) {
  start();
  auto& from = a->make_buffer(8);
  auto& to = b->make_buffer(8);
  device_a->fate = [](const ibv_wc& wc) {
    return Fate{.status = wc.wr_id == 2 ? IBV_WC_GENERAL_ERR : IBV_WC_SUCCESS};
  };
  for (std::uint64_t id = 1; id <= 3; ++id) {
    auto request = write_to(to, from, 8, id);
    if (id == 2) request.flags = 0;  // Errors are told of unsignalled requests too.
    ASSERT_EQ(a->post(at_a, request), 0);
  }
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].status, IBV_WC_SUCCESS);
  EXPECT_EQ(found[1].status, IBV_WC_GENERAL_ERR);
  EXPECT_EQ(found[2].status, IBV_WC_WR_FLUSH_ERR);
  start();
  auto& into = b->make_buffer(8);
  ASSERT_EQ(b->receive(9, {into.all()}), 0);
  device_b->fate = [](const ibv_wc&) { return Fate{.status = IBV_WC_LOC_PROT_ERR}; };
  ASSERT_EQ(a->post(at_a, send_of(a->make_buffer(8), 8)), 0);
  EXPECT_EQ(finish(*a).size(), 1u);
  const auto got = b->poll();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].status, IBV_WC_LOC_PROT_ERR);
  EXPECT_EQ(b->state_of(at_b), IBV_QPS_ERR);
}

TEST_F(SoftQueues, CallsAreCounted) {
  start();
  ibv_send_wr two[2] = {};
  two[0].next = &two[1];
  two[0].opcode = two[1].opcode = IBV_WR_RDMA_WRITE;
  two[1].send_flags = IBV_SEND_SIGNALED;
  ibv_send_wr* bad = nullptr;
  ASSERT_EQ(a->api.post_send(at_a, two, &bad), 0);
  EXPECT_EQ(finish(*a).size(), 1u);
  const auto& counts = device_a->counts;
  EXPECT_EQ(counts.requests, 2u);
  EXPECT_EQ(counts.signalled, 1u);
  EXPECT_EQ(counts.send_doorbells, 1u);
  EXPECT_EQ(counts.completions, 1u);
  EXPECT_EQ(counts.packets, 2u);
  EXPECT_EQ(fabric->counts().requests, 2u);
  EXPECT_EQ(fabric->counts().receives, 0u);
}

TEST_F(SoftQueues, PollingCanStep) {
  start({.auto_step = 1});
  auto& from = a->make_buffer(8192);
  auto& to = b->make_buffer(8192);
  ASSERT_EQ(a->post(at_a, write_to(to, from, 8192)), 0);
  std::size_t polls = 0;
  while (a->poll().empty()) ++polls;
  EXPECT_EQ(polls, 8u) << "eight packets, then their completion";
}

/// What the processes see, poll by poll, of some traffic on three pairs.
std::vector<std::uint64_t> history(std::uint64_t seed) {
  SoftFabric fabric({.seed = seed});
  Process a(fabric.add_device({.name = "a"}));
  Process b(fabric.add_device({.name = "b"}));
  auto& from = a.make_buffer(8192);
  auto& to = b.make_buffer(8192);
  for (std::uint64_t i = 0; i < 3; ++i) {
    auto* pair = a.make_pair();
    connect(a, pair, b, b.make_pair());
    for (std::uint64_t j = 0; j < 4; ++j)
      EXPECT_EQ(a.post(pair, write_to(to, from, 8192 >> j, i * 10 + j)), 0);
  }
  std::vector<std::uint64_t> seen{from.region->rkey};
  while (fabric.step())
    for (const auto& wc : a.poll())
      seen.insert(
          seen.end(),
          {wc.wr_id, static_cast<std::uint64_t>(fabric.clock().now().time_since_epoch().count())});
  return seen;
}

TEST_F(SoftQueues, ASeedReplays) {
  EXPECT_EQ(history(1), history(1));
  EXPECT_NE(history(1), history(2));
}

TEST_F(SoftQueues, NothingIsAllocatedInSteadyState) {
  start();
  auto& from = a->make_buffer(4096);
  auto& to = b->make_buffer(4096);
  ibv_sge sge = from.sge(0, 4096);
  ibv_sge into = to.all();
  const auto round = [&] {
    ibv_recv_wr receive{};
    receive.sg_list = &into;
    receive.num_sge = 1;
    ibv_recv_wr* bad_receive = nullptr;
    bool fine = b->api.post_srq_recv(b->srq, &receive, &bad_receive) == 0;
    ibv_send_wr wr{};
    wr.sg_list = &sge;
    wr.num_sge = 1;
    wr.opcode = IBV_WR_SEND;
    wr.send_flags = IBV_SEND_SIGNALED;
    ibv_send_wr* bad = nullptr;
    fine &= a->api.req_notify_cq(a->cq, 0) == 0 && a->api.post_send(at_a, &wr, &bad) == 0;
    fine &= fabric->run();
    ibv_wc wc{};
    fine &= a->api.poll_cq(a->cq, 1, &wc) == 1 && b->api.poll_cq(b->cq, 1, &wc) == 1;
    return fine && took_event(*a);
  };
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(round());
  const auto before = shoal::test::allocations();
  bool fine = true;
  for (int i = 0; i < 1000; ++i) fine &= round();
  EXPECT_EQ(shoal::test::allocations(), before);
  EXPECT_TRUE(fine);
}

}  // namespace
}  // namespace shoal::verbs::test
