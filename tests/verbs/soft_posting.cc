#include <algorithm>
#include <cerrno>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

bool is_supported(ibv_wr_opcode opcode) {
  return opcode == IBV_WR_SEND || opcode == IBV_WR_SEND_WITH_IMM || opcode == IBV_WR_RDMA_WRITE ||
         opcode == IBV_WR_RDMA_WRITE_WITH_IMM || opcode == IBV_WR_RDMA_READ;
}

std::span<const ibv_sge> list_of(const ibv_send_wr& wr) {
  return {wr.sg_list, static_cast<std::size_t>(wr.num_sge)};
}

std::uint64_t length_of(const ibv_send_wr& wr) {
  std::uint64_t bytes = 0;
  for (const auto& sge : list_of(wr)) bytes += sge.length;
  return bytes;
}

int refuses_request(const SoftQp& pair, const ibv_send_wr& wr) {
  const auto state = pair.attributes.qp_state;
  if (state != IBV_QPS_RTS && state != IBV_QPS_ERR) return EINVAL;
  if (!is_supported(wr.opcode)) return EOPNOTSUPP;
  if (wr.num_sge < 0 || static_cast<std::uint32_t>(wr.num_sge) > pair.cap.max_send_sge)
    return EINVAL;
  if ((wr.send_flags & IBV_SEND_INLINE) != 0 &&
      (wr.opcode == IBV_WR_RDMA_READ || length_of(wr) > pair.cap.max_inline_data))
    return EINVAL;
  return pair.slots_taken >= pair.cap.max_send_wr ? ENOMEM : 0;
}

void enqueue(SoftQp& pair, const ibv_send_wr& wr) {
  auto& wqe = pair.queue.push();
  const auto index = pair.queue.size() - 1;
  wqe = {};
  wqe.wr_id = wr.wr_id;
  wqe.opcode = wr.opcode;
  wqe.flags = wr.send_flags | (pair.signal_all ? unsigned{IBV_SEND_SIGNALED} : 0u);
  wqe.imm = wr.imm_data;
  wqe.remote = wr.wr.rdma.remote_addr;
  wqe.rkey = wr.wr.rdma.rkey;
  wqe.length = length_of(wr);
  wqe.sge_count = static_cast<std::uint32_t>(wr.num_sge);
  ++pair.slots_taken;
  auto& counts = pair.adapter().counts;
  ++counts.requests;
  if ((wqe.flags & IBV_SEND_SIGNALED) != 0) ++counts.signalled;
  if ((wqe.flags & IBV_SEND_INLINE) == 0) {
    std::copy_n(wr.sg_list, wqe.sge_count, pair.sges_of(index).begin());
    return;
  }
  ++counts.inlined;
  auto* to = pair.inline_of(index);
  for (const auto& sge : list_of(wr)) {
    if (sge.length > 0) std::memcpy(to, reinterpret_cast<const void*>(sge.addr), sge.length);
    to += sge.length;
  }
}

int post_send(ibv_qp* qp, ibv_send_wr* first, ibv_send_wr** bad) {
  auto& pair = static_cast<SoftQp&>(*qp);
  ++pair.adapter().counts.send_doorbells;
  for (auto* wr = first; wr != nullptr; wr = wr->next) {
    const int error = pair.owner().dead ? EIO : refuses_request(pair, *wr);
    if (error != 0) return *bad = wr, error;
    enqueue(pair, *wr);
  }
  auto& network = *pair.adapter().network;
  while (network.options.instant && network.step()) {
  }
  return 0;
}

int post_srq_recv(ibv_srq* srq, ibv_recv_wr* first, ibv_recv_wr** bad) {
  auto& soft = static_cast<SoftSrq&>(*srq);
  auto& owner = static_cast<SoftContext&>(*srq->context);
  auto& counts = owner.owner().counts;
  ++counts.receive_doorbells;
  for (auto* wr = first; wr != nullptr; wr = wr->next) {
    int error = owner.dead ? EIO : 0;
    if (wr->num_sge < 0 || static_cast<std::uint32_t>(wr->num_sge) > soft.max_sge) error = EINVAL;
    if (error == 0 && soft.receives.full()) error = ENOMEM;
    if (error != 0) return *bad = wr, error;
    auto& receive = soft.receives.push();
    receive.wr_id = wr->wr_id;
    receive.sge_count = static_cast<std::uint32_t>(wr->num_sge);
    std::copy_n(wr->sg_list, receive.sge_count, receive.sges.begin());
    ++counts.receives;
  }
  return 0;
}

}  // namespace

void fill_posting(Api& api) {
  api.post_send = &post_send;
  api.post_srq_recv = &post_srq_recv;
}

}  // namespace shoal::verbs::test
