#include <cerrno>
#include <functional>

#include "tests/verbs/soft_fixture.h"

// What a connection does when something breaks.

namespace shoal::verbs::test {
namespace {

class SoftFaults : public SoftAdapter {
 protected:
  /// Posts `request` from a to b, and expects it to fail with `status` and nothing after it to run.
  void expect_failure(Request request, ibv_wc_status status, ibv_qp_state peers_state) {
    ASSERT_EQ(a->post(at_a, {.id = 1, .flags = 0}), 0);
    request.id = 2;
    ASSERT_EQ(a->post(at_a, request), 0);
    ASSERT_EQ(a->post(at_a, {.id = 3, .flags = 0}), 0);
    ASSERT_EQ(a->post(at_a, {.id = 4}), 0);
    const auto found = finish(*a);
    ASSERT_EQ(found.size(), 3u);
    EXPECT_EQ(found[0].wr_id, 2u);
    EXPECT_EQ(found[0].status, status) << a->api.wc_status_str(found[0].status);
    EXPECT_EQ(found[1].wr_id, 3u) << "flushed requests complete, signalled or not";
    EXPECT_EQ(found[1].status, IBV_WC_WR_FLUSH_ERR);
    EXPECT_EQ(found[2].wr_id, 4u);
    EXPECT_EQ(found[2].status, IBV_WC_WR_FLUSH_ERR);
    EXPECT_EQ(a->state_of(at_a), IBV_QPS_ERR);
    EXPECT_EQ(b->state_of(at_b), peers_state);
  }
  /// Steps until some of `bytes` are `value` and some are not.
  void until_half(std::span<const std::byte> bytes, int value) {
    while (count_of(bytes, value) < bytes.size() / 2) ASSERT_TRUE(fabric->step());
    ASSERT_LT(count_of(bytes, value), bytes.size());
  }
};

TEST_F(SoftFaults, RemoteAccessErrorsPutBothPairsIntoError) {
  const std::pair<const char*, std::function<Request(Buffer&, Buffer&)>> cases[] = {
      {"one byte past the region",
       [](Buffer& from, Buffer& to) {
         auto request = write_to(to, from, 64);
         request.remote += 1;
         return request;
       }},
      {"one byte before it",
       [](Buffer& from, Buffer& to) {
         auto request = write_to(to, from, 64);
         request.remote -= 1;
         return request;
       }},
      {"no such key",
       [](Buffer& from, Buffer& to) {
         auto request = write_to(to, from, 64);
         request.rkey ^= 0x800000;
         return request;
       }},
      {"the local key",
       [](Buffer& from, Buffer& to) {
         auto request = write_to(to, from, 64);
         request.rkey = to.region->lkey;
         return request;
       }},
      {"a READ past the region",
       [](Buffer& from, Buffer& to) {
         auto request = read_from(to, from, 64);
         request.remote += 1;
         return request;
       }},
  };
  for (const auto& [what, make] : cases) {
    SCOPED_TRACE(what);
    start();
    auto& from = a->make_buffer(64);
    auto& to = b->make_buffer(64);
    fill(from.bytes, 1);
    expect_failure(make(from, to), IBV_WC_REM_ACCESS_ERR, IBV_QPS_ERR);
    EXPECT_EQ(count_of(to.bytes, 0), 64u) << "nothing landed";
    EXPECT_EQ(b->event(), IBV_EVENT_QP_ACCESS_ERR);
  }
}

TEST_F(SoftFaults, AccessFlagsAndDomainsAreObeyed) {
  const auto fails = [this](int access, bool other_domain, bool read) {
    start();
    auto* pd = b->api.alloc_pd(b->context);
    auto& from = a->make_buffer(64);
    auto& to = b->make_buffer(64, access, other_domain ? pd : nullptr);
    expect_failure(read ? read_from(to, from, 64) : write_to(to, from, 64), IBV_WC_REM_ACCESS_ERR,
                   IBV_QPS_ERR);
    b->deregister(to);
    EXPECT_EQ(b->api.dealloc_pd(pd), 0);
  };
  fails(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ, false, false);
  fails(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, false, true);
  fails(IBV_ACCESS_LOCAL_WRITE, false, true);
  fails(kAllAccess, true, false);
}

TEST_F(SoftFaults, PairsAllowWhatTheyWereToldToAllow) {
  start({}, {.access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE});
  expect_failure(read_from(b->make_buffer(64), a->make_buffer(64), 64), IBV_WC_REM_INV_REQ_ERR,
                 IBV_QPS_ERR);
  start({}, {.access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ});
  ASSERT_EQ(a->post(at_a, write_to(b->make_buffer(64), a->make_buffer(64), 64)), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].status, IBV_WC_REM_INV_REQ_ERR);
}

TEST_F(SoftFaults, AResponderWithoutReadResourcesRefuses) {
  start({}, {.reads_dest = 0});
  auto& to = a->make_buffer(64);
  auto& from = b->make_buffer(64);
  expect_failure(read_from(from, to, 64), IBV_WC_REM_INV_REQ_ERR, IBV_QPS_ERR);
  EXPECT_EQ(b->event(), IBV_EVENT_QP_REQ_ERR);
}

TEST_F(SoftFaults, LocalErrorsLeaveThePeerAlone) {
  start();
  auto& from = a->make_buffer(64);
  auto& to = b->make_buffer(64);
  auto past = write_to(to, from, 64);
  past.local[0].addr += 1;
  expect_failure(past, IBV_WC_LOC_PROT_ERR, IBV_QPS_RTS);
  start();
  auto& read_only = a->make_buffer(64, 0);
  auto& source = b->make_buffer(64);
  expect_failure(read_from(source, read_only, 64), IBV_WC_LOC_PROT_ERR, IBV_QPS_RTS);
}

TEST_F(SoftFaults, AReceiveThatIsTooShortFailsOnBothSides) {
  start();
  auto& from = a->make_buffer(64);
  auto& into = b->make_buffer(63);
  ASSERT_EQ(b->receive(8, {into.all()}), 0);
  expect_failure(send_of(from, 64), IBV_WC_REM_INV_REQ_ERR, IBV_QPS_ERR);
  const auto got = b->poll();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].wr_id, 8u);
  EXPECT_EQ(got[0].status, IBV_WC_LOC_LEN_ERR);
}

TEST_F(SoftFaults, AReceiveIntoADeregisteredRegionFailsOnBothSides) {
  start();
  auto& from = a->make_buffer(64);
  auto& into = b->make_buffer(64);
  ASSERT_EQ(b->receive(8, {into.all()}), 0);
  b->deregister(into);
  expect_failure(send_of(from, 64), IBV_WC_REM_OP_ERR, IBV_QPS_ERR);
  const auto got = b->poll();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].status, IBV_WC_LOC_PROT_ERR);
}

TEST_F(SoftFaults, ReceiversThatAreNotReady) {
  start();
  auto& from = a->make_buffer(64);
  auto& into = b->make_buffer(64);
  ASSERT_EQ(a->post(at_a, send_of(from, 64)), 0);
  EXPECT_TRUE(finish(*a).empty()) << "rnr_retry = 7 waits";
  ASSERT_EQ(b->receive(1, {into.all()}), 0);
  EXPECT_EQ(finish(*a).size(), 1u);
  start({}, {.retries_not_ready = 2, .not_ready_timer = 14});
  const auto before = fabric->clock().now();
  expect_failure(send_of(a->make_buffer(64), 64), IBV_WC_RNR_RETRY_EXC_ERR, IBV_QPS_RTS);
  const auto took = fabric->clock().now() - before;
  EXPECT_GE(took, 2 * std::chrono::microseconds(1280));
  EXPECT_LT(took, 3 * std::chrono::microseconds(1280));
}

TEST_F(SoftFaults, AWriteWithoutAReceiveForItsImmediateDataHasLanded) {
  start({}, {.retries_not_ready = 0});
  auto& from = a->make_buffer(64);
  auto& to = b->make_buffer(64);
  fill(from.bytes, 1);
  auto request = write_to(to, from, 64);
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  expect_failure(request, IBV_WC_RNR_RETRY_EXC_ERR, IBV_QPS_RTS);
  EXPECT_EQ(count_of(to.bytes, 1), 64u);
}

TEST_F(SoftFaults, APeerThatIsGoneExceedsTheRetries) {
  const std::pair<const char*, std::function<void()>> cases[] = {
      {"destroyed", [this] { b->destroy(at_b); }},
      {"reset", [this] { EXPECT_EQ(b->to_state(at_b, IBV_QPS_RESET), 0); }},
      {"in error", [this] { EXPECT_EQ(b->to_state(at_b, IBV_QPS_ERR), 0); }},
      {"killed", [this] { device_b->kill(); }},
      {"its link down", [this] { device_b->set_port_state(1, IBV_PORT_DOWN); }},
      {"our link down", [this] { device_a->set_port_state(1, IBV_PORT_DOWN); }},
      {"another GID", [this] { device_b->find_port(1)->gids[3].gid.raw[15] ^= 1; }},
      {"another type of GID",
       [this] { device_b->find_port(1)->gids[3].gid_type = IBV_GID_TYPE_ROCE_V1; }},
  };
  for (const auto& [what, make] : cases) {
    SCOPED_TRACE(what);
    start({}, {.timeout = 14, .retries = 6});
    auto& from = a->make_buffer(8);
    make();
    ASSERT_EQ(a->post(at_a, send_of(from, 8)), 0);
    const auto before = fabric->clock().now();
    const auto found = finish(*a);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].status, IBV_WC_RETRY_EXC_ERR);
    const auto took = fabric->clock().now() - before;
    EXPECT_EQ(std::chrono::duration_cast<std::chrono::milliseconds>(took).count(), 469);
  }
}

TEST_F(SoftFaults, SevenRetriesNeverEnd) {
  start({}, {.retries = 7});
  auto& from = a->make_buffer(8);
  auto& to = b->make_buffer(8);
  device_b->set_port_state(1, IBV_PORT_DOWN);
  ASSERT_EQ(a->post(at_a, write_to(to, from, 8)), 0);
  EXPECT_TRUE(finish(*a).empty());
  device_b->set_port_state(1, IBV_PORT_ACTIVE);
  EXPECT_EQ(finish(*a).size(), 1u);
  start({.retry_7_is_forever = false}, {.retries = 7});
  device_b->kill();
  ASSERT_EQ(a->post(at_a, {}), 0);
  EXPECT_EQ(finish(*a).size(), 1u);
}

TEST_F(SoftFaults, AShortOutageIsNotNoticed) {
  start();
  auto& from = a->make_buffer(8192);
  auto& to = b->make_buffer(8192);
  fill(from.bytes, 1);
  ASSERT_EQ(a->post(at_a, write_to(to, from, 8192)), 0);
  until_half(to.bytes, 1);
  device_a->set_port_state(1, IBV_PORT_DOWN);
  for (int i = 0; i < 3; ++i) fabric->step();
  device_a->set_port_state(1, IBV_PORT_ACTIVE);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].status, IBV_WC_SUCCESS);
  EXPECT_EQ(count_of(to.bytes, 1), 8192u);
}

TEST_F(SoftFaults, AnErrorFlushesRequestsAndNoSharedReceive) {
  start();
  auto& into = b->make_buffer(64);
  for (std::uint64_t id = 0; id < 3; ++id) ASSERT_EQ(b->receive(id, {into.all()}), 0);
  ASSERT_EQ(b->to_state(at_b, IBV_QPS_ERR), 0);
  for (std::uint64_t id = 10; id < 13; ++id) ASSERT_EQ(b->post(at_b, {.id = id, .flags = 0}), 0);
  const auto found = finish(*b);
  ASSERT_EQ(found.size(), 3u);
  for (std::uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(found[i].wr_id, 10 + i);
    EXPECT_EQ(found[i].status, IBV_WC_WR_FLUSH_ERR);
  }
  EXPECT_EQ(b->event(), std::nullopt) << "no LAST_WQE_REACHED";
  // They still serve other pairs.
  auto* second_a = a->make_pair();
  auto* second_b = b->make_pair();
  connect(*a, second_a, *b, second_b);
  auto& from = a->make_buffer(8);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(a->post(second_a, send_of(from, 8)), 0);
  EXPECT_EQ(finish(*a).size(), 3u);
  EXPECT_EQ(b->poll().size(), 3u);
}

TEST_F(SoftFaults, AHalfArrivedMessageLosesItsReceive) {
  start();
  auto& from = a->make_buffer(4096);
  auto& into = b->make_buffer(4096);
  fill(from.bytes, 1);
  ASSERT_EQ(b->receive(1, {into.all()}), 0);
  ASSERT_EQ(a->post(at_a, send_of(from, 4096)), 0);
  until_half(into.bytes, 1);
  ASSERT_EQ(b->to_state(at_b, IBV_QPS_ERR), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].status, IBV_WC_RETRY_EXC_ERR);
  EXPECT_TRUE(b->poll().empty());
}

TEST_F(SoftFaults, NothingLandsOrLeavesAfterDeregistration) {
  for (const bool read : {false, true}) {
    start();
    auto& here = a->make_buffer(16 << 10);
    auto& there = b->make_buffer(16 << 10);
    auto& source = read ? there : here;
    auto& sink = read ? here : there;
    fill(source.bytes, 1);
    ASSERT_EQ(
        a->post(at_a, read ? read_from(there, here, 16 << 10) : write_to(there, here, 16 << 10)),
        0);
    until_half(sink.bytes, 1);
    b->deregister(there);
    const auto landed = count_of(sink.bytes, 1);
    const auto found = finish(*a);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].status, IBV_WC_REM_ACCESS_ERR);
    EXPECT_EQ(count_of(sink.bytes, 1), landed);
    EXPECT_EQ(a->state_of(at_a), IBV_QPS_ERR);
    EXPECT_EQ(b->state_of(at_b), IBV_QPS_ERR);
  }
}

TEST_F(SoftFaults, AnErrorStateAloneLeaksADestroyedPairDoesNot) {
  int leaks[3] = {};
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const auto way = seed % 3;
    start({.seed = seed});
    auto& from = a->make_buffer(16 << 10);
    auto& to = b->make_buffer(16 << 10);
    fill(from.bytes, 1);
    ASSERT_EQ(a->post(at_a, write_to(to, from, 16 << 10)), 0);
    until_half(to.bytes, 1);
    if (way == 0) {
      ASSERT_EQ(b->to_state(at_b, IBV_QPS_ERR), 0);
    }
    if (way == 1) b->destroy(at_b);
    if (way == 2) device_b->kill();
    const auto landed = count_of(to.bytes, 1);
    EXPECT_EQ(finish(*a).size(), 1u);
    leaks[way] += count_of(to.bytes, 1) != landed ? 1 : 0;
  }
  EXPECT_GT(leaks[0], 5);
  EXPECT_EQ(leaks[1], 0);
  EXPECT_EQ(leaks[2], 0);
}

TEST_F(SoftFaults, AnInitiatorsReadEndsWithItsFlushedCompletion) {
  int leaks = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    start({.seed = seed});
    auto& to = a->make_buffer(16 << 10);
    auto& from = b->make_buffer(16 << 10);
    fill(from.bytes, 1);
    ASSERT_EQ(a->post(at_a, read_from(from, to, 16 << 10)), 0);
    until_half(to.bytes, 1);
    ASSERT_EQ(a->to_state(at_a, IBV_QPS_ERR), 0);
    const auto before = count_of(to.bytes, 1);
    while (a->poll().empty()) ASSERT_TRUE(fabric->step());
    const auto drained = count_of(to.bytes, 1);
    leaks += drained != before ? 1 : 0;
    EXPECT_TRUE(fabric->run());
    EXPECT_EQ(count_of(to.bytes, 1), drained);
  }
  EXPECT_GT(leaks, 5);
}

TEST_F(SoftFaults, AKilledProcessIsOnlyGoodForDestruction) {
  start();
  auto& memory = b->make_buffer(64);
  device_b->kill();
  EXPECT_EQ(b->post(at_b, {}), EIO);
  EXPECT_EQ(b->receive(1, {memory.all()}), EIO);
  EXPECT_EQ(b->to_state(at_b, IBV_QPS_ERR), EIO);
  EXPECT_EQ(b->api.alloc_pd(b->context), nullptr);
  EXPECT_EQ(errno, EIO);
  EXPECT_TRUE(b->poll().empty());
  // A process started anew on the device finds it well, and the old keys mean nothing there.
  Process again(*device_b);
  auto* pair = again.make_pair();
  a->destroy(at_a);
  at_a = a->make_pair();
  connect(*a, at_a, again, pair);
  auto& from = a->make_buffer(64);
  ASSERT_EQ(a->post(at_a, write_to(memory, from, 64)), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].status, IBV_WC_REM_ACCESS_ERR);
  EXPECT_EQ(again.event(), IBV_EVENT_QP_ACCESS_ERR);
}

TEST_F(SoftFaults, AStoppedProcessIsServedByItsDevice) {
  start();
  auto& here = a->make_buffer(64);
  auto& there = b->make_buffer(64);
  fill(here.bytes, 1);
  ASSERT_EQ(b->receive(1, {there.all()}), 0);
  device_b->stop(true);
  ASSERT_EQ(a->post(at_a, send_of(here, 8)), 0);
  ASSERT_EQ(a->post(at_a, write_to(there, here, 64)), 0);
  ASSERT_EQ(a->post(at_a, read_from(there, here, 64)), 0);
  ASSERT_EQ(a->post(at_a, send_of(here, 8)), 0);
  EXPECT_EQ(finish(*a).size(), 3u) << "the second message finds no receive";
  EXPECT_EQ(count_of(there.bytes, 1), 64u);
  EXPECT_TRUE(b->poll().empty());
  device_b->stop(false);
  EXPECT_EQ(b->poll().size(), 1u);
}

TEST_F(SoftFaults, SidesThatDisagreeOnTheMtuCannotTalk) {
  start();
  auto* at_c = b->make_pair();
  at_a = a->make_pair();
  ASSERT_EQ(a->to_init(at_a, {}), 0);
  ASSERT_EQ(b->to_init(at_c, {}), 0);
  ASSERT_EQ(a->to_ready(at_a, *b, at_c, {.mtu = IBV_MTU_1024}), 0);
  ASSERT_EQ(b->to_ready(at_c, *a, at_a, {.mtu = IBV_MTU_2048}), 0);
  auto& from = a->make_buffer(1500);
  auto& to = b->make_buffer(1500);
  ASSERT_EQ(a->post(at_a, write_to(to, from, 1000)), 0);
  ASSERT_EQ(a->post(at_a, write_to(to, from, 1500)), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].status, IBV_WC_SUCCESS);
  EXPECT_EQ(found[1].status, IBV_WC_REM_INV_REQ_ERR);
}

}  // namespace
}  // namespace shoal::verbs::test
