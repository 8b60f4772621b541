#include <cerrno>

#include "tests/verbs/soft_fixture.h"

// What a connection does while nothing breaks.

namespace shoal::verbs::test {
namespace {

class SoftPairs : public SoftAdapter {};

TEST_F(SoftPairs, StatesNeedTheirAttributes) {
  start();
  auto* pair = a->make_pair();
  auto* other = b->make_pair();
  const auto try_init = [&](int mask) {
    ibv_qp_attr wanted{};
    wanted.qp_state = IBV_QPS_INIT;
    wanted.port_num = 1;
    return a->api.modify_qp(pair, &wanted, mask);
  };
  constexpr int kInit = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
  EXPECT_EQ(a->to_ready(pair, *b, other, {}), EINVAL) << "from RESET";
  for (const int bit : {IBV_QP_PKEY_INDEX, IBV_QP_PORT, IBV_QP_ACCESS_FLAGS})
    EXPECT_EQ(try_init(kInit & ~bit), EINVAL);
  EXPECT_EQ(try_init(kInit | IBV_QP_QKEY), EINVAL);
  EXPECT_EQ(try_init(kInit), 0);
  EXPECT_EQ(a->state_of(pair), IBV_QPS_INIT);
  EXPECT_EQ(a->to_state(pair, IBV_QPS_RTR), EINVAL);
  EXPECT_EQ(a->to_state(pair, IBV_QPS_RTS), EINVAL);
  Terms terms;
  terms.reads = 129;
  EXPECT_EQ(a->to_ready(pair, *b, other, terms), EINVAL) << "max_rd_atomic";
  EXPECT_EQ(a->state_of(pair), IBV_QPS_RTR);
  EXPECT_EQ(a->to_state(pair, IBV_QPS_RESET), 0);
  EXPECT_EQ(a->to_init(pair, {}), 0);
  device_a->find_port(1)->attributes.active_mtu = IBV_MTU_512;
  EXPECT_EQ(a->to_ready(pair, *b, other, {}), EINVAL) << "path_mtu";
  EXPECT_EQ(a->state_of(pair), IBV_QPS_INIT) << "nothing of it was applied";
}

TEST_F(SoftPairs, RequestsNeedAReadyPair) {
  start();
  auto* pair = a->make_pair();
  EXPECT_EQ(a->post(pair, {}), EINVAL);
  EXPECT_EQ(a->to_init(pair, {}), 0);
  EXPECT_EQ(a->post(pair, {}), EINVAL);
  EXPECT_EQ(a->post(at_a, {.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD}), EOPNOTSUPP);
  EXPECT_EQ(a->post(at_a, {.local = std::vector<ibv_sge>(5)}), EINVAL) << "more than max_send_sge";
}

TEST_F(SoftPairs, ASendLandsInAReceive) {
  start();
  auto& from = a->make_buffer(3000);
  auto& into = b->make_buffer(4000);
  fill(from.bytes, 7);
  ASSERT_EQ(b->receive(55, {into.sge(0, 10), into.sge(100, 3900)}), 0);
  ASSERT_EQ(b->receive(56, {into.sge(50, 8)}), 0);
  ASSERT_EQ(a->post(at_a, send_of(from, 3000, 1)), 0);
  auto immediate = send_of(from, 8, 2);
  immediate.opcode = IBV_WR_SEND_WITH_IMM;
  immediate.imm = 0xabcd;
  ASSERT_EQ(a->post(at_a, immediate), 0);
  const auto sent = finish(*a);
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].wr_id, 1u);
  EXPECT_EQ(sent[0].opcode, IBV_WC_SEND);
  EXPECT_EQ(sent[1].qp_num, at_a->qp_num);
  const auto got = b->poll();
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].wr_id, 55u);
  EXPECT_EQ(got[0].opcode, IBV_WC_RECV);
  EXPECT_EQ(got[0].byte_len, 3000u);
  EXPECT_EQ(got[0].wc_flags, 0u);
  EXPECT_EQ(got[1].imm_data, 0xabcdu);
  EXPECT_EQ(got[1].wc_flags, static_cast<unsigned>(IBV_WC_WITH_IMM));
  EXPECT_EQ(got[1].qp_num, at_b->qp_num);
  EXPECT_EQ(got[1].src_qp, at_a->qp_num);
  EXPECT_EQ(count_of(std::span(into.bytes).first(10), 7), 10u);
  EXPECT_EQ(count_of(std::span(into.bytes).subspan(100, 2990), 7), 2990u);
  EXPECT_EQ(count_of(into.bytes, 7), 3008u);
}

TEST_F(SoftPairs, AWriteLandsPieceByPiece) {
  start({}, {.mtu = IBV_MTU_4096});
  constexpr std::size_t kBytes = 1 << 20;
  auto& from = a->make_buffer(kBytes);
  auto& to = b->make_buffer(kBytes);
  fill(from.bytes, 9);
  ASSERT_EQ(a->post(at_a, write_to(to, from, kBytes)), 0);
  EXPECT_EQ(count_of(to.bytes, 9), 0u) << "nothing moves but in step()";
  for (std::size_t packet = 1; packet <= 256; ++packet) {
    ASSERT_TRUE(a->poll().empty());
    ASSERT_TRUE(fabric->step());
    ASSERT_EQ(to.bytes[packet * 4096 - 1], std::byte{9});
    if (packet < 256) {
      ASSERT_EQ(to.bytes[packet * 4096], std::byte{0});
    }
  }
  EXPECT_TRUE(a->poll().empty()) << "landed, and the sender does not know it yet";
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].opcode, IBV_WC_RDMA_WRITE);
  EXPECT_TRUE(b->poll().empty());
  EXPECT_EQ(device_a->counts.packets, 256u);
}

TEST_F(SoftPairs, AReadFetches) {
  start();
  auto& from = b->make_buffer(5000);
  auto& to = a->make_buffer(5000);
  fill(from.bytes, 3);
  ASSERT_EQ(a->post(at_a, read_from(from, to, 5000)), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].opcode, IBV_WC_RDMA_READ);
  EXPECT_EQ(found[0].byte_len, 5000u);
  EXPECT_EQ(count_of(to.bytes, 3), 5000u);
}

TEST_F(SoftPairs, AWriteWithImmediateDataTakesAReceive) {
  start();
  auto& from = a->make_buffer(3000);
  auto& to = b->make_buffer(3000);
  fill(from.bytes, 4);
  ASSERT_EQ(b->receive(5, {}), 0);
  auto request = write_to(to, from, 3000);
  request.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
  request.imm = 17;
  ASSERT_EQ(a->post(at_a, request), 0);
  EXPECT_EQ(finish(*a).size(), 1u);
  const auto got = b->poll();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].wr_id, 5u);
  EXPECT_EQ(got[0].opcode, IBV_WC_RECV_RDMA_WITH_IMM);
  EXPECT_EQ(got[0].imm_data, 17u);
  EXPECT_EQ(got[0].byte_len, 3000u);
  EXPECT_EQ(count_of(to.bytes, 4), 3000u);
}

TEST_F(SoftPairs, EmptyMessagesNeedNoKey) {
  start();
  ASSERT_EQ(a->post(at_a, {.opcode = IBV_WR_RDMA_WRITE}), 0);
  ASSERT_EQ(a->post(at_a, {.opcode = IBV_WR_RDMA_READ}), 0);
  for (const auto& wc : finish(*a)) EXPECT_EQ(wc.status, IBV_WC_SUCCESS);
  EXPECT_EQ(device_a->counts.completions, 2u);
}

TEST_F(SoftPairs, InlineDataIsTakenAtOnceAllOtherLater) {
  start();
  auto& from = a->make_buffer(64);
  auto& to = b->make_buffer(128);
  fill(from.bytes, 1);
  auto request = write_to(to, from, 64);
  request.flags |= IBV_SEND_INLINE;
  request.local[0].lkey = 0;  // Inline data needs no region.
  ASSERT_EQ(a->post(at_a, request), 0);
  auto later = write_to(to, from, 64);
  later.remote += 64;
  ASSERT_EQ(a->post(at_a, later), 0);
  fill(from.bytes, 2);
  EXPECT_EQ(finish(*a).size(), 2u);
  EXPECT_EQ(count_of(std::span(to.bytes).first(64), 1), 64u);
  EXPECT_EQ(count_of(std::span(to.bytes).last(64), 2), 64u);
  request.local.push_back(from.sge(0, 1));
  EXPECT_EQ(a->post(at_a, request), EINVAL) << "65 bytes";
  auto read = read_from(to, from, 8);
  read.flags |= IBV_SEND_INLINE;
  EXPECT_EQ(a->post(at_a, read), EINVAL);
  EXPECT_EQ(device_a->counts.inlined, 1u);
}

TEST_F(SoftPairs, SlotsComeBackWithAPolledCompletion) {
  start({}, {}, {.requests = 4});
  const Request silent{.flags = 0};
  for (int i = 0; i < 4; ++i) ASSERT_EQ(a->post(at_a, silent), 0);
  EXPECT_TRUE(finish(*a).empty());
  EXPECT_EQ(a->post(at_a, silent), ENOMEM) << "over, but nobody can know";
  start({}, {}, {.requests = 4});
  for (int i = 0; i < 2; ++i) ASSERT_EQ(a->post(at_a, silent), 0);
  ASSERT_EQ(a->post(at_a, {.id = 3}), 0);
  ASSERT_EQ(a->post(at_a, silent), 0);
  EXPECT_TRUE(fabric->run());
  EXPECT_EQ(a->post(at_a, silent), ENOMEM) << "completed and not polled";
  EXPECT_EQ(a->poll().size(), 1u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(a->post(at_a, silent), 0);
  EXPECT_EQ(a->post(at_a, silent), ENOMEM);
  EXPECT_TRUE(finish(*a).empty());
}

/// Runs READs of `b`'s memory ahead of a WRITE to it; true: the WRITE landed before the READ had.
bool overtakes(Process& a, ibv_qp* at_a, Process& b, SoftFabric& fabric, unsigned flags) {
  auto& from = b.make_buffer(4096);
  auto& to = a.make_buffer(4096);
  auto& target = b.make_buffer(8);
  fill(from.bytes, 1);
  fill(to.bytes, 0);
  auto write = write_to(target, from, 8);
  write.local = {to.sge(0, 8)};
  fill(target.bytes, 9);
  write.flags |= flags;
  EXPECT_EQ(a.post(at_a, read_from(from, to, 4096)), 0);
  EXPECT_EQ(a.post(at_a, write), 0);
  while (count_of(target.bytes, 9) != 0)
    if (!fabric.step()) break;
  const bool early = count_of(to.bytes, 1) < 4096;
  EXPECT_TRUE(fabric.run());
  const auto found = a.poll();
  EXPECT_EQ(found.size(), 2u);
  if (!found.empty()) {
    EXPECT_EQ(found[0].opcode, IBV_WC_RDMA_READ) << "completions are in order";
  }
  return early;
}

TEST_F(SoftPairs, AWriteOvertakesAReadUnlessItIsFenced) {
  int unfenced = 0;
  int fenced = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    start({.seed = seed});
    unfenced += overtakes(*a, at_a, *b, *fabric, 0) ? 1 : 0;
    fenced += overtakes(*a, at_a, *b, *fabric, IBV_SEND_FENCE) ? 1 : 0;
  }
  EXPECT_GT(unfenced, 0);
  EXPECT_EQ(fenced, 0);
}

/// Whether of two READs the second ever has bytes before the first is complete.
bool second_read_first(Process& a, ibv_qp* at_a, Process& b, SoftFabric& fabric) {
  auto& from = b.make_buffer(8192);
  auto& one = a.make_buffer(8192);
  auto& two = a.make_buffer(8192);
  fill(from.bytes, 1);
  EXPECT_EQ(a.post(at_a, read_from(from, one, 8192)), 0);
  EXPECT_EQ(a.post(at_a, read_from(from, two, 8192)), 0);
  bool early = false;
  while (fabric.step())
    if (count_of(two.bytes, 1) > 0 && count_of(one.bytes, 1) < 8192) early = true;
  EXPECT_EQ(a.poll().size(), 2u);
  EXPECT_EQ(count_of(two.bytes, 1), 8192u);
  return early;
}

TEST_F(SoftPairs, ReadsComeInOrderUnlessAskedOtherwise) {
  int in_order = 0;
  int out_of_order = 0;
  int one_at_a_time = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    start({.seed = seed});
    in_order += second_read_first(*a, at_a, *b, *fabric) ? 1 : 0;
    start({.seed = seed, .reads_out_of_order = true});
    out_of_order += second_read_first(*a, at_a, *b, *fabric) ? 1 : 0;
    start({.seed = seed, .reads_out_of_order = true}, {.reads = 1});
    one_at_a_time += second_read_first(*a, at_a, *b, *fabric) ? 1 : 0;
  }
  EXPECT_EQ(in_order, 0);
  EXPECT_GT(out_of_order, 0);
  EXPECT_EQ(one_at_a_time, 0) << "max_rd_atomic = 1";
}

TEST_F(SoftPairs, PairsTakeTurns) {
  start();
  auto* second_a = a->make_pair();
  auto* second_b = b->make_pair();
  connect(*a, second_a, *b, second_b);
  auto& bulk = a->make_buffer(64 << 10);
  auto& to = b->make_buffer(64 << 10);
  ASSERT_EQ(a->post(at_a, write_to(to, bulk, 64 << 10, 1)), 0);
  ASSERT_EQ(a->post(second_a, write_to(to, bulk, 8, 2)), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].wr_id, 2u) << "bulk on one pair does not hold back another";
}

TEST_F(SoftPairs, AFreshConnectionFollowsAReset) {
  start();
  auto& from = a->make_buffer(8);
  auto& to = b->make_buffer(8);
  ASSERT_EQ(a->to_state(at_a, IBV_QPS_ERR), 0);
  ASSERT_EQ(b->to_state(at_b, IBV_QPS_ERR), 0);
  ASSERT_EQ(a->post(at_a, write_to(to, from, 8)), 0);
  ASSERT_EQ(a->to_state(at_a, IBV_QPS_RESET), 0);
  ASSERT_EQ(b->to_state(at_b, IBV_QPS_RESET), 0);
  connect(*a, at_a, *b, at_b);
  ASSERT_EQ(a->post(at_a, write_to(to, from, 8, 4)), 0);
  const auto found = finish(*a);
  ASSERT_EQ(found.size(), 1u) << "what was posted before the reset is forgotten";
  EXPECT_EQ(found[0].wr_id, 4u);
  EXPECT_EQ(found[0].status, IBV_WC_SUCCESS);
}

}  // namespace
}  // namespace shoal::verbs::test
